//! Whether a device is there.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use burn::tensor::Tensor;
use burn::tensor::backend::{Backend, DeviceOps};

use crate::{Error, Result};

/// Works out a sum on `device`, so that a device that is not there is told before any work.
///
/// Burn's backends for graphics cards panic where a driver or a device is missing; while this
/// runs, panics of any thread print nothing.
///
/// # Errors
/// [`Error::Device`]: there is no such device, or it cannot compute.
pub fn check_device<B: Backend>(device: &B::Device) -> Result<()> {
    let failed = |message: String| Error::Device {
        device: format!("{device:?}"),
        message,
    };
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(|| compute::<B>(device)));
    set_hook(hook);
    match outcome {
        Ok(outcome) => outcome.map_err(failed),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(failed(text.unwrap_or("the driver failed").to_owned()))
        }
    }
}

fn compute<B: Backend>(device: &B::Device) -> std::result::Result<(), String> {
    let id = device.id();
    let count = B::device_count(id.type_id);
    if usize::from(id.index_id) >= count {
        return Err(match count {
            0 => "there is none of this kind".to_owned(),
            1 => "the only one of its kind has number 0".to_owned(),
            count => format!("those of its kind have the numbers 0 to {}", count - 1),
        });
    }
    let sum = Tensor::<B, 1>::from_data([1.0, 2.0], device).sum();
    let sum = sum.try_into_data().map_err(|error| format!("{error:?}"))?;
    match sum.iter::<f32>().next() {
        Some(3.0) => Ok(()),
        other => Err(format!("1 + 2 is {other:?} there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn the_processor_is_there() {
        check_device::<Cpu>(&Default::default()).expect("the processor");
    }
}

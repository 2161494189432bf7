//! Whether a device is there.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};

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
    caught(|| compute::<B>(device)).map_err(|message| Error::Device {
        device: format!("{device:?}"),
        message,
    })
}

/// What `work` gives, or what the first panic meanwhile said: a backend starts its devices on
/// threads of their own, and here arrives only that no answer came.
fn caught(
    work: impl FnOnce() -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let first = Arc::new(Mutex::new(None));
    let heard = first.clone();
    let hook = take_hook();
    set_hook(Box::new(move |panic| {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get_or_insert_with(|| said(panic.payload()));
    }));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    outcome.unwrap_or_else(|panic| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(first.unwrap_or_else(|| said(&*panic)))
    })
}

/// The message of a panic.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("the driver failed").to_owned()
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

    #[test]
    fn the_first_panic_is_the_cause() {
        fn driver() {
            panic!("no driver");
        }
        let error = caught(|| {
            std::thread::spawn(driver).join().expect("an answer");
            Ok(())
        });
        assert_eq!(error, Err("no driver".to_owned()));
        assert_eq!(caught(|| Err("none".to_owned())), Err("none".to_owned()));
    }
}

//! Keeping freed memory for the next step.
//!
//! A training step allocates some hundred megabytes and frees them again. Handed back to the
//! system each time, every page is faulted in and cleared anew: a fifth of a small model's step.
//! Threads with heaps of their own give theirs back whatever they are told, once one is empty: all
//! share one heap. There are few allocations a step, and they are large; nobody waits for the others.

// One call into the C library.
#![allow(unsafe_code)]

/// Asks the allocator, once for the process, not to return freed memory to the system, and to have
/// one heap for all threads that have not yet allocated anything.
///
/// Does something with the GNU C library alone, whose defaults need it.
pub(crate) fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        use std::sync::Once;

        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        const TRIM_THRESHOLD: c_int = -1;
        const MMAP_MAX: c_int = -4;
        const ARENA_MAX: c_int = -8;
        static ONCE: Once = Once::new();
        // SAFETY: mallopt takes any numbers and locks the allocator's state itself. A refusal
        // costs speed only, so that its answer does not matter.
        ONCE.call_once(|| unsafe {
            mallopt(ARENA_MAX, 1);
            mallopt(MMAP_MAX, 0);
            mallopt(TRIM_THRESHOLD, c_int::MAX);
        });
    }
}

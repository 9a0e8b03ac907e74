//! Calling a function of the module API by its pointer.

/// Calls a function that every supported server has (Redis 6.2 and later).
///
/// Expands to an unsafe call: use it inside an `unsafe` block with its SAFETY
/// line. A missing pointer is a panic, which the boundary turns into an error
/// reply.
macro_rules! call {
    ($name:ident ( $($arg:expr),* $(,)? )) => {
        match ::redis_module::raw::$name {
            Some(function) => function($($arg),*),
            None => $crate::server::ffi::api::absent(stringify!($name)),
        }
    };
}
pub(crate) use call;

/// Calls a function that only some servers have; `None` where it is missing.
macro_rules! call_if_there {
    ($name:ident ( $($arg:expr),* $(,)? )) => {
        match ::redis_module::raw::$name {
            Some(function) => Some(function($($arg),*)),
            None => None,
        }
    };
}
pub(crate) use call_if_there;

/// A function that Redis 6.2 has is not there: no server we support.
///
/// # Panics
/// Always; the boundary answers the client.
#[cold]
#[allow(clippy::panic)] // caught at the boundary like every panic
pub fn absent(name: &str) -> ! {
    panic!("the server lacks {name}")
}

/// A constant of the API as the type its functions take.
#[allow(clippy::cast_possible_truncation)] // the header's constants are small
pub const fn constant(value: isize) -> std::ffi::c_int {
    value as std::ffi::c_int
}

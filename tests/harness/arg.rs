//! Arguments of commands: text, bytes and numbers.

/// What can be an argument of a command.
pub trait Arg {
    /// The bytes to send.
    fn to_arg(&self) -> Vec<u8>;
}

macro_rules! bytes_arg {
    ($($type:ty),+) => {$(
        impl Arg for $type {
            fn to_arg(&self) -> Vec<u8> {
                AsRef::<[u8]>::as_ref(self).to_vec()
            }
        }
    )+};
}
bytes_arg!(str, String, [u8], Vec<u8>);

impl<const N: usize> Arg for [u8; N] {
    fn to_arg(&self) -> Vec<u8> {
        self.to_vec()
    }
}

macro_rules! number_arg {
    ($($type:ty),+) => {$(
        impl Arg for $type {
            fn to_arg(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
        }
    )+};
}
number_arg!(i32, i64, i128, u16, u32, u64, u128, usize, f64);

impl<T: Arg + ?Sized> Arg for &T {
    fn to_arg(&self) -> Vec<u8> {
        (**self).to_arg()
    }
}

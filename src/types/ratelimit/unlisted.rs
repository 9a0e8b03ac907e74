//! The usage of unlisted limits: those that the last grant did not name.

use crate::core::limits::UnlistedLimit;
use std::ops::{Deref, DerefMut};

/// The usage of unlisted limits, each until none of it is in use. Few keys have any, and a key
/// without pays the 8 bytes of one pointer.
#[derive(Clone, Debug, Default)]
#[allow(clippy::box_collection)] // A vector is three times as large.
pub struct UnlistedLimits(Option<Box<Vec<UnlistedLimit>>>);

impl UnlistedLimits {
    /// Changes the list of them.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Vec<UnlistedLimit>) -> R) -> R {
        if let Some(unlisted) = &mut self.0 {
            let result = change(unlisted);
            self.0.take_if(|unlisted| unlisted.is_empty());
            return result;
        }
        let mut unlisted = Vec::new();
        let result = change(&mut unlisted);
        *self = unlisted.into();
        result
    }

    /// Keeps only the usage for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&UnlistedLimit) -> bool) {
        self.change(|unlisted| unlisted.retain(keep));
    }

    /// The bytes that the value holds outside itself.
    pub fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |unlisted| {
            size_of::<Vec<UnlistedLimit>>()
                + unlisted.capacity() * size_of::<UnlistedLimit>()
                + unlisted.iter().map(|one| one.state.heap_bytes()).sum::<usize>()
        })
    }
}

impl From<Vec<UnlistedLimit>> for UnlistedLimits {
    fn from(unlisted: Vec<UnlistedLimit>) -> Self {
        Self((!unlisted.is_empty()).then(|| Box::new(unlisted)))
    }
}

impl Deref for UnlistedLimits {
    type Target = [UnlistedLimit];

    #[inline]
    fn deref(&self) -> &[UnlistedLimit] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl DerefMut for UnlistedLimits {
    fn deref_mut(&mut self) -> &mut [UnlistedLimit] {
        self.0.as_deref_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

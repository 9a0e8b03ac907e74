//! Who reports the result of a call.

/// The longest name of a reporter, in bytes.
pub const REPORTER_BYTES: usize = 128;

/// Who reports: all that is kept of a name is its hash of 128 bits (FNV-1a), so that a
/// name takes the same room whatever its length.
///
/// Two names that somebody chose would have to meet in all 128 bits to count as one. For
/// names that nobody chose to meet, that does not happen. Who makes names to meet gains
/// nothing: a caller that may report may report under any name, that of another too. The
/// hash has no key, so a replica and a restarted server know the same reporters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reporter {
    // Halves, for a whole one would want sixteen bytes' alignment.
    high: u64,
    low: u64,
}

impl Reporter {
    /// All who do not say who they are: they are one.
    pub const UNNAMED: Self = Self { high: 0, low: 0 };

    /// The one of this name; `None` where it is empty or too long.
    pub fn named(name: &[u8]) -> Option<Self> {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = (1 << 88) + 0x13b;
        if name.is_empty() || name.len() > REPORTER_BYTES {
            return None;
        }
        let hash = name.iter().fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
        // 0 is nobody's.
        Some(Self::from_bits(hash.max(1)))
    }

    /// From what [`Reporter::bits`] gave.
    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub const fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// All that is known of it.
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Whether it has a name.
    pub const fn is_named(self) -> bool {
        self.high | self.low != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is what others call FNV-1a: these are its published values.
    #[test]
    fn names_are_hashed_as_published() {
        let bits = |name: &[u8]| Reporter::named(name).map(Reporter::bits);
        assert_eq!(bits(b"a"), Some(0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964));
        assert_eq!(bits(b"foobar"), Some(0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18));
        assert_eq!(bits(b""), None);
        assert_eq!(bits(&[b'x'; REPORTER_BYTES + 1]), None);
        assert!(bits(&[0; REPORTER_BYTES]).is_some());
    }
}

//! The checksum at the end of RDB files and DUMP payloads.

use crc::{CRC_64_REDIS, Crc};

const REDIS: Crc<u64> = Crc::<u64>::new(&CRC_64_REDIS);

/// As the server counts it; RDB files and DUMP payloads end with it in little
/// endian.
pub fn crc64(bytes: &[u8]) -> u64 {
    REDIS.checksum(bytes)
}

/// The value that Redis' own source gives as an example.
#[test]
fn the_checksum_is_that_of_redis() {
    assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
}

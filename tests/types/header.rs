//! The header of an effect arrives as it was sent, and its bytes are those that version 0.1 wrote.

use floodgate::core::time::Micros;
use floodgate::core::wire::Reader;
use floodgate::types::effect::header::{CREATED, EffectHeader, is_circuit, split_created};
use proptest::prelude::*;

fn header() -> impl Strategy<Value = EffectHeader> {
    let kind = prop_oneof![1..31u8, 33..64u8];
    (kind, any::<bool>(), any::<bool>(), 0..=Micros::MAX.0).prop_map(|(kind, has_parts, expires, now)| {
        EffectHeader { kind, has_parts, expires, now: Micros(now) }
    })
}

fn bytes_of(header: EffectHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.put(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_header_arrives_as_it_was_sent(header in header()) {
        let bytes = bytes_of(header);
        let mut rest = Reader::new(&bytes);
        prop_assert_eq!(EffectHeader::read(&mut rest), Ok(header));
        prop_assert!(rest.is_empty());
        prop_assert_eq!(is_circuit(&bytes), header.kind > 32);
        for end in 0..bytes.len() {
            prop_assert!(EffectHeader::read(&mut Reader::new(&bytes[..end])).is_err());
        }
    }

    #[test]
    fn the_mark_of_a_new_key_is_no_header(header in header()) {
        let bytes = bytes_of(header);
        prop_assert_eq!(split_created(&bytes), (false, bytes.as_slice()));
        let marked = [&[CREATED][..], &bytes].concat();
        prop_assert!(!is_circuit(&marked));
        prop_assert_eq!(split_created(&marked), (true, bytes.as_slice()));
    }
}

#[test]
fn the_bytes_are_those_of_version_0_1() {
    let plain = EffectHeader { kind: 1, has_parts: false, expires: true, now: Micros(300) };
    for (header, bytes) in [
        (plain, b"\x01\xac\x02"),
        (EffectHeader { kind: 25, ..plain }, b"\x19\xac\x02"),
        (EffectHeader { kind: 33, ..plain }, b"\x21\xac\x02"),
        (EffectHeader { has_parts: true, ..plain }, b"\x41\xac\x02"),
        (EffectHeader { expires: false, ..plain }, b"\x81\xac\x02"),
    ] {
        assert_eq!(bytes_of(header), bytes, "{header:?}");
    }
    let too_late = [&[1][..], &[0xff; 9], &[1]].concat();
    assert!(EffectHeader::read(&mut Reader::new(&too_late)).is_err());
}

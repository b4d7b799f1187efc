//! What a frame says behind its MACs: neighbours, and the headers of an offloaded frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use macvlan_common::{
    gso,
    l3::{self, ARP_LEN, Address, ND_LEN, NdWords, Neighbours},
    neigh::{PLACES, TRIES, mac_of, place},
};

fuzz_target!(|frame: &[u8]| {
    if let Some(bytes) = frame.first_chunk::<ARP_LEN>() {
        check(&l3::read_arp(bytes));
    }
    if let Some(bytes) = frame.first_chunk::<ND_LEN>() {
        let mut words: NdWords = [0; ND_LEN / 4];
        for (word, four) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_ne_bytes(*four);
        }
        check(&l3::read_nd(&words));
    }
    let headers = gso::header_len(|offset| {
        let bytes = frame.get(usize::try_from(offset).ok()?..)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*bytes))
    });
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    for segments in [1, 2, 64, u32::MAX] {
        // No fewer bytes on the wire than in the buffer.
        assert!(gso::wire_len(len, segments, headers) >= u64::from(len));
    }
});

fn check(said: &Neighbours) {
    for address in [said.asked, said.claimed].into_iter().filter(|address| address.is_some()) {
        let Address(words) = address;
        assert_ne!(words[0].to_ne_bytes()[0], 0xff, "nobody has a group: {said:?}");
        for attempt in 0..TRIES {
            let place = place(said.hardware, address, attempt);
            assert!(mac_of(place) == said.hardware && place >> 48 < PLACES);
        }
    }
}

//! Streams of AMQP frames, mended, and held against the client library.

use std::sync::Arc;

use lapin::protocol::basic::parse_properties;
use parqueduct::broker::mender::{Mender, Note, Notes};

/// The pieces in which bytes come make no difference; what is mended is not mended again, and nothing grows. The client
/// library takes the properties of every message.
pub fn mender(input: &[u8]) {
    let Some((sizes, stream)) = input.split_first_chunk::<3>() else { return };
    let (out, notes) = mended(stream, &[stream.len().max(1)]);
    assert!(out.len() <= stream.len());
    let sizes = sizes.map(|size| usize::from(size) + 1);
    assert_eq!(mended(stream, &sizes), (out.clone(), notes), "in pieces of {sizes:?}");
    let (again, more) = mended(&out, &[out.len().max(1)]);
    assert_eq!(again, out);
    assert_eq!(more, []);
    check_properties(&out);
}

/// What comes out when `stream` is read in pieces of those sizes, over and over, and the notes.
fn mended(stream: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<Note>) {
    let notes = Arc::<Notes>::default();
    let mut mender = Mender::new(Arc::clone(&notes));
    let mut sizes = sizes.iter().copied().cycle();
    let (mut rest, mut out) = (stream, Vec::new());
    loop {
        let mut buffer = vec![0; sizes.next().expect("there are sizes")];
        let mut count = mender.give(&mut buffer);
        if count == 0 {
            let read = buffer.len().min(mender.wanted()).min(rest.len());
            if read == 0 {
                break;
            }
            buffer[..read].copy_from_slice(&rest[..read]);
            rest = &rest[read..];
            count = mender.take(&mut buffer[..read]);
        }
        out.extend(&buffer[..count]);
    }
    (out, notes.take_through(u64::MAX).into())
}

/// Of frames that are whole, one after another: a header that comes next on its channel after a delivery.
fn check_properties(stream: &[u8]) {
    let mut rest = stream;
    let mut announced = None;
    while let Some(([kind, high, low, size @ ..], after)) = rest.split_first_chunk::<7>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some((payload, [0xce, next @ ..])) = after.split_at_checked(size) else { return };
        rest = next;
        let channel = [*high, *low];
        match (kind, payload) {
            // A delivery with its consumer, its tag, and names.
            (1, [0, 60, 0, 60, names @ ..]) if is_delivery(names) => announced = Some(channel),
            (2, [0, 60, _, _, _, _, _, _, _, _, _, _, section @ ..]) if announced == Some(channel) => {
                announced = None;
                if section.len() >= 2 {
                    let taken = parse_properties(section).is_ok_and(|(rest, _)| rest.is_empty());
                    assert!(taken, "{section:02x?}");
                }
            }
            (2, _) if announced == Some(channel) => announced = None,
            _ => {}
        }
    }
}

fn is_delivery(bytes: &[u8]) -> bool {
    let short =
        |bytes: &[u8]| bytes.split_first().and_then(|(len, rest)| rest.get(usize::from(*len)..)).map(<[u8]>::to_vec);
    let after_tag = short(bytes).and_then(|rest| rest.get(9..).map(<[u8]>::to_vec));
    after_tag.and_then(|rest| short(&rest)).and_then(|rest| short(&rest)).is_some()
}

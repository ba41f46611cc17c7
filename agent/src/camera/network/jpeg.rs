//! RTP packets of JPEG (RFC 2435) as whole files: a camera sends the scan and a few numbers, and the
//! tables that all such cameras have in common are put in front of it here.

use super::{super::huffman::HUFFMAN, NetworkError, rtp};

/// Largest scan, bytes.
const MAX_SCAN: usize = 8 << 20;
/// Bytes of a quantization table of 8 bits a number.
const TABLE: usize = 64;
/// From here on, `Q` names tables that are sent.
const SENT_TABLES: u8 = 128;

/// What the packets of one picture have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// Halves the height of the colours, too, and not their width only.
    quarter: bool,
    q: u8,
    width: u16,
    height: u16,
    /// From restart marker to restart marker; 0 where there are none.
    restart: u16,
}

/// Puts files together from packets.
pub(super) struct Assembly {
    payload_type: u8,
    /// For pictures that are too large for a packet to say how large.
    size: Option<(u16, u16)>,
    /// The last tables that were sent, and the `Q` that names them.
    tables: Option<(u8, Vec<u8>)>,
    kind: Option<Kind>,
    scan: Vec<u8>,
    timestamp: u32,
}

impl Assembly {
    pub(super) const fn of(payload_type: u8, size: Option<(u16, u16)>) -> Self {
        Self { payload_type, size, tables: None, kind: None, scan: Vec::new(), timestamp: 0 }
    }

    /// Takes a packet; the picture that ends with it. One with a gap never does.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, NetworkError> {
        let packet = rtp::packet(bytes).ok_or(NetworkError::Protocol("an RTP packet"))?;
        if packet.payload_type != self.payload_type {
            return Ok(None);
        }
        if packet.timestamp != self.timestamp {
            self.timestamp = packet.timestamp;
            self.kind = None;
        }
        self.fragment(packet.payload)?;
        let ended = self.kind.filter(|_| packet.last);
        Ok(ended.and_then(|kind| {
            self.kind = None;
            self.file(kind)
        }))
    }

    fn fragment(&mut self, payload: &[u8]) -> Result<(), NetworkError> {
        const BAD: NetworkError = NetworkError::Protocol("a packet of JPEG");
        let (head, mut rest) = payload.split_at_checked(8).ok_or(BAD)?;
        let offset = usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]]));
        let offset = offset.map_err(|_| BAD)?;
        let (of_type, q) = (head[4], head[5]);
        let (width, height) = (u16::from(head[6]) * 8, u16::from(head[7]) * 8);
        let restart = if of_type & 0x40 == 0 {
            0
        } else {
            let (marker, more) = rest.split_at_checked(4).ok_or(BAD)?;
            rest = more;
            u16::from_be_bytes([marker[0], marker[1]])
        };
        let quarter = match of_type & !0x40 {
            0 => false,
            1 => true,
            _ => return Err(NetworkError::Format(OTHER_JPEG.into())),
        };
        let (width, height) = match (width, height, self.size) {
            (0, _, Some(size)) | (_, 0, Some(size)) => size,
            (0, _, None) | (_, 0, None) => return Err(NetworkError::Format(TOO_LARGE.into())),
            _ => (width, height),
        };
        let kind = Kind { quarter, q, width, height, restart };
        if offset == 0 {
            self.scan.clear();
            self.kind = Some(kind);
            if q >= SENT_TABLES {
                rest = self.take_tables(q, rest)?;
            }
        }
        let fits =
            self.kind == Some(kind) && self.scan.len() == offset && offset + rest.len() <= MAX_SCAN;
        if fits {
            self.scan.extend_from_slice(rest);
        } else {
            // Something of it is missing.
            self.kind = None;
        }
        Ok(())
    }

    /// The quantization tables before a picture's first part; the part.
    fn take_tables<'a>(&mut self, q: u8, rest: &'a [u8]) -> Result<&'a [u8], NetworkError> {
        const BAD: NetworkError = NetworkError::Protocol("a table of JPEG");
        let (head, rest) = rest.split_at_checked(4).ok_or(BAD)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (tables, rest) = rest.split_at_checked(length).ok_or(BAD)?;
        if head[1] != 0 && length != 0 {
            return Err(NetworkError::Format(OTHER_JPEG.into()));
        }
        match length {
            // Those that were sent before.
            0 => {}
            TABLE => self.tables = Some((q, [tables, tables].concat())),
            n if n == 2 * TABLE => self.tables = Some((q, tables.to_vec())),
            _ => return Err(BAD),
        }
        Ok(rest)
    }

    /// The whole file; `None` where its tables never came.
    fn file(&self, kind: Kind) -> Option<Vec<u8>> {
        let tables = match (&self.tables, kind.q) {
            (Some((q, tables)), SENT_TABLES..) if *q == kind.q => tables.clone(),
            (_, SENT_TABLES..) => return None,
            (_, q) => usual_tables(q),
        };
        let mut file = vec![0xff, 0xd8];
        for (number, table) in (0..).zip(tables.chunks(TABLE)) {
            file.extend_from_slice(&[0xff, 0xdb, 0, 67, number]);
            file.extend_from_slice(table);
        }
        if kind.restart > 0 {
            file.extend_from_slice(&[0xff, 0xdd, 0, 4]);
            file.extend_from_slice(&kind.restart.to_be_bytes());
        }
        file.extend_from_slice(&[0xff, 0xc0, 0, 17, 8]);
        file.extend_from_slice(&kind.height.to_be_bytes());
        file.extend_from_slice(&kind.width.to_be_bytes());
        let sampling = if kind.quarter { 0x22 } else { 0x21 };
        file.extend_from_slice(&[3, 1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1]);
        file.extend_from_slice(&HUFFMAN);
        file.extend_from_slice(&[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
        file.extend_from_slice(&self.scan);
        if !self.scan.ends_with(&[0xff, 0xd9]) {
            file.extend_from_slice(&[0xff, 0xd9]);
        }
        Some(file)
    }
}

const OTHER_JPEG: &str = "sends JPEG of an unusual kind: choose one of its streams in H.264";
const TOO_LARGE: &str =
    "sends JPEG of more than 2040 pixels a side: choose a smaller one of its streams";

/// The tables of the standard for a quality of 1 to 99.
fn usual_tables(q: u8) -> Vec<u8> {
    let q = u32::from(q.clamp(1, 99));
    let factor = if q < 50 { 5000 / q } else { 200 - q * 2 };
    let scaled = |base: &u8| {
        u8::try_from(((u32::from(*base) * factor + 50) / 100).clamp(1, 255)).unwrap_or(u8::MAX)
    };
    LUMINANCE.iter().chain(&CHROMINANCE).map(scaled).collect()
}

/// ITU-T T.81, K.1, in the order of a file.
const LUMINANCE: [u8; TABLE] = [
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37,
    29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81,
    87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
];
/// ITU-T T.81, K.2, in the order of a file.
const CHROMINANCE: [u8; TABLE] = [
    17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    fn sent(sequence: u16, timestamp: u32, last: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, 26 | u8::from(last) << 7];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn part(offset: u32, q: u8, more: &[u8]) -> Vec<u8> {
        let mut payload = offset.to_be_bytes().to_vec();
        payload.extend_from_slice(&[1, q, 2, 2]);
        payload.extend_from_slice(more);
        payload
    }

    #[test]
    fn a_file_is_put_together_and_one_with_a_gap_is_not() {
        let mut assembly = Assembly::of(26, None);
        let mut push = |number: u16, at: u32, last: bool, payload: &[u8]| {
            assembly.push(&sent(number, at, last, payload)).unwrap()
        };
        assert!(push(1, 1, false, &part(0, 50, &[1, 2])).is_none());
        let file = push(2, 1, true, &part(2, 50, &[3])).unwrap();
        assert!(file.starts_with(&[0xff, 0xd8, 0xff, 0xdb, 0, 67, 0, 16, 11]));
        assert!(file.ends_with(&[63, 0, 1, 2, 3, 0xff, 0xd9]));
        assert!(push(3, 2, false, &part(0, 50, &[1, 2])).is_none());
        assert!(push(5, 2, true, &part(4, 50, &[3])).is_none());
        // Its beginning never came, or another came before its end.
        assert!(push(6, 3, true, &part(2, 50, &[3])).is_none());
        assert!(push(7, 4, false, &part(0, 50, &[1])).is_none());
        assert!(push(8, 5, true, &part(1, 50, &[3])).is_none());
    }

    #[test]
    fn tables_that_are_sent_hold_until_others_are() {
        let mut assembly = Assembly::of(26, None);
        let tables = [[0, 0, 0, 128].as_slice(), &[9; 128]].concat();
        let none = [0, 0, 0, 0, 7];
        // Named before they came.
        assert!(assembly.push(&sent(1, 1, true, &part(0, 200, &none))).unwrap().is_none());
        for (number, more) in [(2, [&tables[..], &[7]].concat()), (3, none.to_vec())] {
            let packet = sent(number, number.into(), true, &part(0, 200, &more));
            let file = assembly.push(&packet).unwrap().unwrap();
            assert_eq!(file[7..71], [9; 64]);
            assert!(file.ends_with(&[0, 7, 0xff, 0xd9]));
        }
        assert!(assembly.push(&sent(4, 4, true, &part(0, 201, &none))).unwrap().is_none());
    }

    #[test]
    fn a_scan_without_an_end_takes_no_more_than_its_bound() {
        let mut assembly = Assembly::of(26, None);
        let bytes = [7; 60_000];
        for number in 0..1000_u16 {
            let offset = u32::from(number) * 60_000;
            let packet = sent(number, 1, false, &part(offset & 0xff_ffff, 50, &bytes));
            assembly.push(&packet).unwrap();
            assert!(assembly.scan.len() <= MAX_SCAN);
        }
        assert!(assembly.kind.is_none());
    }

    #[test]
    fn rubbish_makes_no_picture_larger_than_it_is() {
        let mut seed = 7_u32;
        for length in 0..4000_u16 {
            let mut assembly = Assembly::of(26, Some((4000, 3000)));
            let bytes: Vec<u8> = (0..length % 300)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed.to_be_bytes()[0]
                })
                .collect();
            let mut formed = bytes.clone();
            if let Some(offset) = formed.get_mut(1..4) {
                offset.fill(0);
            }
            for payload in [bytes, formed] {
                if let Ok(Some(file)) = assembly.push(&sent(length, 1, true, &payload)) {
                    assert!(file.len() < payload.len() + 700);
                }
            }
        }
    }

    #[test]
    fn a_size_that_does_not_fit_a_packet_is_the_descriptions() {
        let mut payload = part(0, 50, &[1]);
        payload[6] = 0;
        let packet = sent(1, 1, true, &payload);
        let file = Assembly::of(26, Some((2560, 1440))).push(&packet).unwrap().unwrap();
        assert!(file.windows(7).any(|bytes| bytes == [17, 8, 5, 160, 10, 0, 3]));
        let error = Assembly::of(26, None).push(&packet).unwrap_err();
        assert!(error.to_string().contains("more than 2040 pixels"));
    }
}

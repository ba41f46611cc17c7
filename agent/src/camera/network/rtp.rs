//! RTP packets (RFC 3550), and those of H.264 (RFC 6184) as pictures to decode.

use super::NetworkError;

/// Largest picture, bytes; an H.264 key frame of 4K is a tenth.
const MAX_UNIT: usize = 8 << 20;
const START: [u8; 4] = [0, 0, 0, 1];

/// What of a packet matters.
pub(super) struct Packet<'a> {
    /// Whether a picture ends with it.
    pub(super) last: bool,
    pub(super) payload_type: u8,
    sequence: u16,
    pub(super) timestamp: u32,
    pub(super) payload: &'a [u8],
}

/// Takes a packet apart; `None` where it is none.
pub(super) fn packet(bytes: &[u8]) -> Option<Packet<'_>> {
    let (head, mut rest) = bytes.split_at_checked(12)?;
    if head[0] >> 6 != 2 {
        return None;
    }
    rest = rest.get(usize::from(head[0] & 0x0f) * 4..)?;
    if head[0] & 0x10 != 0 {
        let words = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        rest = rest.get(4 + usize::from(words) * 4..)?;
    }
    if head[0] & 0x20 != 0 {
        let padding = usize::from(*rest.last()?);
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    Some(Packet {
        last: head[1] & 0x80 != 0,
        payload_type: head[1] & 0x7f,
        sequence: u16::from_be_bytes([head[2], head[3]]),
        timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        payload: rest,
    })
}

/// One picture, coded, as the decoder takes it.
pub(super) struct Unit {
    /// NAL units behind start codes.
    pub(super) bytes: Vec<u8>,
    /// Whether it can be decoded without those before it.
    pub(super) key: bool,
    /// Whether something was lost before it.
    pub(super) gap: bool,
}

/// Puts pictures together from packets.
pub(super) struct Assembly {
    payload_type: u8,
    bytes: Vec<u8>,
    key: bool,
    /// Something of this picture is missing.
    broken: bool,
    /// Something before the next picture was lost.
    gap: bool,
    timestamp: u32,
    sequence: Option<u16>,
}

impl Assembly {
    pub(super) const fn of(payload_type: u8) -> Self {
        Self {
            payload_type,
            bytes: Vec::new(),
            key: false,
            broken: false,
            gap: false,
            timestamp: 0,
            sequence: None,
        }
    }

    /// Takes a packet; up to two pictures end with it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<[Option<Unit>; 2], NetworkError> {
        let packet = packet(bytes).ok_or(NetworkError::Protocol("an RTP packet"))?;
        if packet.payload_type != self.payload_type {
            return Ok([None, None]);
        }
        let lost = self.sequence.is_some_and(|last| last.wrapping_add(1) != packet.sequence);
        self.sequence = Some(packet.sequence);
        let mut before = None;
        if packet.timestamp != self.timestamp {
            // Not every camera marks the last packet of a picture.
            before = self.end();
            self.timestamp = packet.timestamp;
        }
        self.broken |= lost;
        self.payload(packet.payload);
        let now = if packet.last { self.end() } else { None };
        Ok([before, now])
    }

    fn end(&mut self) -> Option<Unit> {
        let bytes = std::mem::take(&mut self.bytes);
        let key = std::mem::take(&mut self.key);
        if std::mem::take(&mut self.broken) {
            self.gap = true;
            return None;
        }
        let whole = !bytes.is_empty();
        whole.then(|| Unit { bytes, key, gap: std::mem::take(&mut self.gap) })
    }

    fn payload(&mut self, payload: &[u8]) {
        const AGGREGATE: u8 = 24;
        const FRAGMENT: u8 = 28;
        let Some((&head, mut rest)) = payload.split_first() else { return };
        match head & 0x1f {
            1..=23 => self.unit(head, rest),
            AGGREGATE => {
                while let Some((length, more)) = rest.split_at_checked(2) {
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    match more.split_at_checked(length) {
                        Some(([], more)) => rest = more,
                        Some((unit, more)) => {
                            self.unit(unit[0], &unit[1..]);
                            rest = more;
                        }
                        None => return self.broken = true,
                    }
                }
            }
            FRAGMENT => {
                let Some((&fragment, part)) = rest.split_first() else { return };
                if fragment & 0x80 != 0 {
                    self.unit((head & 0xe0) | (fragment & 0x1f), part);
                } else if self.bytes.is_empty() {
                    // Its beginning never came.
                    self.broken = true;
                } else {
                    self.append(part);
                }
            }
            // Interleaved modes, which we do not ask for.
            _ => self.broken = true,
        }
    }

    fn unit(&mut self, head: u8, rest: &[u8]) {
        const KEY_SLICE: u8 = 5;
        self.key |= head & 0x1f == KEY_SLICE;
        self.append(&START);
        self.append(&[head]);
        self.append(rest);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > MAX_UNIT {
            self.broken = true;
            self.bytes.clear();
        }
        if !self.broken {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    fn sent(sequence: u16, timestamp: u32, last: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, 96 | u8::from(last) << 7];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn units(packets: &[Vec<u8>]) -> Vec<Unit> {
        let mut assembly = Assembly::of(96);
        let ended = packets.iter().flat_map(|packet| assembly.push(packet).unwrap());
        ended.flatten().collect()
    }

    #[test]
    fn a_picture_is_put_together() {
        let found = units(&[
            sent(65535, 1, false, &[24, 0, 2, 0x67, 1, 0, 2, 0x68, 2]),
            sent(0, 1, false, &[0x7c, 0x85, 3]),
            sent(1, 1, false, &[0x7c, 0x05, 4]),
            sent(2, 1, true, &[0x7c, 0x45, 5]),
            // Ended by the next one's time alone.
            sent(3, 2, false, &[0x41, 6]),
            sent(4, 3, true, &[0x41, 7]),
        ]);
        let key = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 3, 4, 5];
        assert_eq!(found.len(), 3);
        assert_eq!(
            (found[0].bytes.as_slice(), found[0].key, found[0].gap),
            (&key[..], true, false)
        );
        assert_eq!((found[1].bytes.as_slice(), found[1].key), (&[0, 0, 0, 1, 0x41, 6][..], false));
        assert_eq!(found[2].bytes, [0, 0, 0, 1, 0x41, 7]);
    }

    #[test]
    fn what_was_lost_is_known() {
        let found = units(&[
            sent(1, 1, false, &[0x7c, 0x81, 1]),
            sent(3, 1, true, &[0x7c, 0x41, 3]),
            sent(4, 2, true, &[0x41, 1]),
            sent(5, 3, true, &[0x41, 1]),
        ]);
        assert_eq!(found.iter().map(|unit| unit.gap).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_picture_without_an_end_takes_no_more_than_its_bound() {
        let mut assembly = Assembly::of(96);
        let part = [[0x7c, 0x01].as_slice(), &[7; 60_000]].concat();
        assembly.push(&sent(0, 1, false, &[0x7c, 0x81, 1])).unwrap();
        for sequence in 1..1000 {
            assembly.push(&sent(sequence, 1, false, &part)).unwrap();
            assert!(assembly.bytes.len() <= MAX_UNIT);
        }
        assert!(assembly.bytes.is_empty() && assembly.broken);
    }

    #[test]
    fn rubbish_is_no_packet() {
        let mut assembly = Assembly::of(96);
        let mut seed = 7_u32;
        for length in 0..2000 {
            let bytes: Vec<u8> = (0..length % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed.to_be_bytes()[0]
                })
                .collect();
            let _ = assembly.push(&bytes);
            let mut formed = sent(length, u32::from(length) / 3, length % 5 == 0, &bytes);
            formed[0] |= bytes.first().unwrap_or(&0) & 0x3f;
            let _ = assembly.push(&formed);
        }
    }
}

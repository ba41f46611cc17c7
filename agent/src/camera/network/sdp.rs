//! What a camera says of its streams (SDP), as far as one who wants H.264 or JPEG has to know.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::NetworkError;

/// Most bytes of all parameter sets.
const MAX_PARAMETERS: usize = 4096;

/// How a stream's pictures are coded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Coding {
    H264 {
        /// Its parameter sets, each behind a start code.
        parameters: Vec<u8>,
    },
    Jpeg {
        /// Width and height, where they may be too much for a packet's head.
        size: Option<(u16, u16)>,
    },
}

/// A video stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Video {
    /// Its RTP payload type.
    pub(super) payload: u8,
    /// Its own address, absolute or relative; the session's where empty.
    pub(super) control: String,
    pub(super) coding: Coding,
}

/// The first H.264 stream of a description, or its first of JPEG where there is none.
pub(super) fn video(text: &str) -> Result<Video, NetworkError> {
    let (mut jpeg, mut others) = (None, None);
    let sections = text.split("\nm=").skip(1);
    for section in sections.filter(|section| section.starts_with("video ")) {
        let mut lines = section.lines();
        let offered = lines.next().unwrap_or_default().split_ascii_whitespace().skip(3);
        let offered: Vec<&str> = offered.collect();
        let attributes: Vec<(&str, &str)> =
            lines.filter_map(|line| line.trim_end().strip_prefix("a=")?.split_once(':')).collect();
        let of = |name: &str| {
            let name = name.to_owned();
            attributes.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value)
        };
        let stream = |payload: u8, coding: Coding| {
            let control = of("control").next().unwrap_or_default().trim();
            // It goes into a request as it is.
            if control.bytes().all(|byte| byte.is_ascii_graphic()) {
                Ok(Video { payload, control: control.to_owned(), coding })
            } else {
                Err(NetworkError::Protocol("the address of a stream"))
            }
        };
        let named = of("rtpmap").filter_map(|value| value.split_once(' '));
        // The one number that needs no name.
        for (payload, coding) in named.chain([(JPEG, "JPEG/90000")]) {
            if !offered.contains(&payload) {
                continue;
            }
            let coding = coding.split('/').next().unwrap_or_default();
            let Ok(number) = payload.parse() else { continue };
            if coding.eq_ignore_ascii_case("H264") {
                let format = of("fmtp").find_map(|value| value.strip_prefix(payload));
                let parameters = parameters(format.unwrap_or_default());
                return stream(number, Coding::H264 { parameters });
            }
            if coding.eq_ignore_ascii_case("JPEG") {
                let size = of("x-dimensions").find_map(size);
                jpeg.get_or_insert_with(|| stream(number, Coding::Jpeg { size }));
            } else {
                others = Some(coding);
            }
        }
    }
    let unknown = || {
        Err(NetworkError::Format(match others {
            // A term of the camera's: no longer than one, and no more than letters.
            Some(coding) => format!(
                "sends {}, which is not known here: choose one of its streams in H.264; often its \
                 sub-stream is, or its settings can have it so",
                coding.chars().filter(char::is_ascii_alphanumeric).take(16).collect::<String>()
            ),
            None => "offers no video".into(),
        }))
    };
    jpeg.unwrap_or_else(unknown)
}

/// The payload type of JPEG (RFC 3551).
const JPEG: &str = "26";

/// `x-dimensions`, as cameras write it: `2560,1440`. Its product is within a picture's bounds, or
/// its decoder says so.
fn size(text: &str) -> Option<(u16, u16)> {
    let (width, height) = text.trim().split_once(',')?;
    let side = |text: &str| text.trim().parse().ok().filter(|side| *side > 0);
    side(width).zip(side(height))
}

/// `sprop-parameter-sets` of a format line. What can't be read is left out: most cameras send them
/// in the stream as well.
fn parameters(format: &str) -> Vec<u8> {
    let mut sets = Vec::new();
    let found =
        format.split(';').find_map(|field| field.trim().strip_prefix("sprop-parameter-sets="));
    for set in found.unwrap_or_default().split(',') {
        let Ok(set) = STANDARD.decode(set.trim()) else { continue };
        if !set.is_empty() && sets.len() + set.len() <= MAX_PARAMETERS {
            sets.extend_from_slice(&[0, 0, 0, 1]);
            sets.extend_from_slice(&set);
        }
    }
    sets
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    #[test]
    fn the_first_h264_stream_is_taken() {
        let text = "v=0\r\ns=x\r\na=control:*\r\nm=audio 0 RTP/AVP 0\r\na=control:a\r\n\
            m=video 0 RTP/AVP 98\r\na=rtpmap:98 H265/90000\r\na=control:b\r\n\
            m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
            a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0I=,aM4=,!\r\na=control:c\r\n";
        let parameters = vec![0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 1, 0x68, 0xce];
        let coding = Coding::H264 { parameters };
        assert_eq!(video(text).unwrap(), Video { payload: 96, control: "c".into(), coding });
    }

    #[test]
    fn a_stream_of_jpeg_is_taken_where_there_is_no_better() {
        let jpeg = "v=0\nm=video 0 RTP/AVP 26\na=control:j\na=x-dimensions:2560,1440\n";
        let coding = Coding::Jpeg { size: Some((2560, 1440)) };
        let is = Video { payload: 26, control: "j".into(), coding };
        assert_eq!(video(jpeg).unwrap(), is);
        let both = format!("{jpeg}m=video 0 RTP/AVP 96\na=rtpmap:96 h264/90000\na=control:h\n");
        assert_eq!(video(&both).unwrap().control, "h");
        let other = "v=0\nm=video 0 RTP/AVP 97\na=rtpmap:97 JPEG/90000\na=x-dimensions:0,x\n";
        let coding = Coding::Jpeg { size: None };
        assert_eq!(video(other).unwrap(), Video { payload: 97, control: String::new(), coding });
    }

    #[test]
    fn what_can_not_be_shown_is_named() {
        for (text, problem) in [
            ("v=0\r\n", "offers no video"),
            ("v=0\nm=audio 0 RTP/AVP 0\n", "offers no video"),
            ("v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\n", "sends H265"),
            ("v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 <b>\u{7}x/1\n", "sends bx"),
            ("v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/1\na=control:a b\n", "the address"),
        ] {
            let error = video(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}

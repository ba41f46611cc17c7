//! What a camera says of its streams (SDP), as far as one who wants H.264 has to know.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::NetworkError;

/// Most bytes of all parameter sets.
const MAX_PARAMETERS: usize = 4096;

/// The first video stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Video {
    /// Its RTP payload type.
    pub(super) payload: u8,
    /// Its own address, absolute or relative; the session's where empty.
    pub(super) control: String,
    /// Its parameter sets, each behind a start code.
    pub(super) parameters: Vec<u8>,
}

/// The first H.264 stream of a description.
pub(super) fn video(text: &str) -> Result<Video, NetworkError> {
    let mut others = None;
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
        for (payload, coding) in of("rtpmap").filter_map(|value| value.split_once(' ')) {
            let coding = coding.split('/').next().unwrap_or_default();
            if !offered.contains(&payload) || !coding.eq_ignore_ascii_case("H264") {
                others = Some(coding);
                continue;
            }
            let Ok(number) = payload.parse() else { continue };
            let control = of("control").next().unwrap_or_default().trim();
            // It goes into a request as it is.
            if !control.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(NetworkError::Protocol("the address of a stream"));
            }
            let format = of("fmtp").find_map(|value| value.strip_prefix(payload));
            return Ok(Video {
                payload: number,
                control: control.to_owned(),
                parameters: parameters(format.unwrap_or_default()),
            });
        }
    }
    Err(NetworkError::Format(match others {
        // A term of the camera's: no longer than one, and no more than letters.
        Some(coding) => format!(
            "sends {}: choose one of its streams in H.264",
            coding.chars().filter(char::is_ascii_alphanumeric).take(16).collect::<String>()
        ),
        None => "offers no video".into(),
    }))
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
        assert_eq!(video(text).unwrap(), Video { payload: 96, control: "c".into(), parameters });
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

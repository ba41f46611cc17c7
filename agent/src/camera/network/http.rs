//! Pictures over HTTP: a stream of JPEGs (`multipart/x-mixed-replace`), or one an answer.

use std::{
    io::Cursor,
    time::{Duration, Instant},
};

use cloudcore_protocol::Timestamp;

use super::{
    super::{Camera, CameraError, Frame, address::Address, decode::decode, huffman::with_tables},
    NetworkError, OPEN, failed,
    feed::Feed,
    login::Guest,
    multipart::{MAX_PICTURE, Parts},
    wire::{Head, Wire},
};

/// A picture's time on the network.
const PICTURE: Duration = Duration::from_secs(10);

/// A picture as it came, and when.
struct Shot {
    file: Vec<u8>,
    at: Timestamp,
    instant: Instant,
}

impl Shot {
    fn now(file: Vec<u8>) -> Self {
        Self { file, at: Timestamp::now(), instant: Instant::now() }
    }
}

enum Source {
    Stream(Feed<Shot>),
    /// What came when it was opened is the first picture.
    Snapshots {
        guest: Guest,
        first: Option<Shot>,
    },
}

struct HttpCamera {
    address: Address,
    source: Source,
}

pub(super) fn open(address: &Address) -> Result<Box<dyn Camera>, NetworkError> {
    Ok(Box::new(HttpCamera { address: address.clone(), source: begin(address)? }))
}

fn begin(address: &Address) -> Result<Source, NetworkError> {
    let mut guest = Guest::of(address);
    let (mut wire, head) = get(address, &mut guest, Instant::now() + OPEN)?;
    let Some(parts) = Parts::of(head.field("content-type").unwrap_or_default()) else {
        let first = Some(Shot::now(body(&mut wire, &head)?));
        return Ok(Source::Snapshots { guest, first });
    };
    let parts = parts?;
    let feed = Feed::start(wire.handle()?, move |feeder| {
        while !feeder.idle() {
            wire.until(Instant::now() + PICTURE);
            let file = parts.next(&mut wire)?;
            if feeder.wanted() {
                feeder.give(Shot::now(file));
            }
        }
        Ok(())
    })?;
    Ok(Source::Stream(feed))
}

/// Asks, and says who we are where the camera wants to know. Redirects are not followed: where a
/// login goes is the operator's to say.
fn get(
    address: &Address,
    guest: &mut Guest,
    deadline: Instant,
) -> Result<(Wire, Head), NetworkError> {
    let path = address.path();
    let mut tried = false;
    loop {
        let mut wire = Wire::open(address, deadline)?;
        let login = guest.answer("GET", &path)?;
        let login = login.map_or_else(String::new, |login| format!("Authorization: {login}\r\n"));
        wire.send(
            format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: cloudcore-agent/{}\r\n\
                 Accept: multipart/x-mixed-replace, image/jpeg, image/png\r\n\
                 Connection: close\r\n{login}\r\n",
                address.authority(),
                env!("CARGO_PKG_VERSION"),
            )
            .as_bytes(),
        )?;
        let head = wire.head("HTTP/1.")?;
        match head.status {
            200 => {
                let coding = head.field("transfer-encoding").unwrap_or_default();
                if coding.eq_ignore_ascii_case("chunked") {
                    wire.chunked()?;
                }
                return Ok((wire, head));
            }
            401 => guest.challenged(&head, tried)?,
            300..=399 => {
                let problem = "sends on to another address: give that as the camera's";
                return Err(NetworkError::Format(problem.into()));
            }
            status => return Err(NetworkError::Status(status)),
        }
        tried = true;
    }
}

/// The one picture of an answer.
fn body(wire: &mut Wire, head: &Head) -> Result<Vec<u8>, NetworkError> {
    let kind = head.field("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    // What names no kind may be a picture yet; its bytes will tell.
    let page = kind.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"));
    if page || kind.eq_ignore_ascii_case("application/json") {
        return Err(NetworkError::Format("answers with a page, and no picture".into()));
    }
    if let Some(length) = head.length()? {
        if length > MAX_PICTURE {
            return Err(NetworkError::TooLarge("a picture"));
        }
        return wire.exactly(length, "a picture");
    }
    loop {
        if wire.pending().len() > MAX_PICTURE {
            return Err(NetworkError::TooLarge("a picture"));
        }
        match wire.fill("a picture") {
            Ok(()) => {}
            Err(NetworkError::Closed) => return Ok(wire.pending().to_vec()),
            Err(problem) => return Err(problem),
        }
    }
}

impl HttpCamera {
    fn shot(&mut self) -> Result<Shot, NetworkError> {
        if matches!(&self.source, Source::Stream(feed) if feed.ended()) {
            // It ended while nobody looked.
            self.source = begin(&self.address)?;
        }
        match &mut self.source {
            Source::Stream(feed) => feed.next(PICTURE),
            Source::Snapshots { guest, first } => {
                if let Some(shot) = first.take() {
                    return Ok(shot);
                }
                let (mut wire, head) = get(&self.address, guest, Instant::now() + PICTURE)?;
                Ok(Shot::now(body(&mut wire, &head)?))
            }
        }
    }
}

impl Camera for HttpCamera {
    fn capture(&mut self) -> Result<Frame, CameraError> {
        let picture = self.shot().and_then(|shot| {
            let file = with_tables(&shot.file);
            let image = decode(Cursor::new(file)).map_err(NetworkError::Picture)?;
            Ok(Frame { image, captured_at: shot.at, captured: shot.instant })
        });
        picture.map_err(|problem| failed(&self.address, problem))
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

//! H.264 or JPEG over RTSP 1.0 (RFC 2326), RTP interleaved in the session's own connection: one TCP
//! connection that passes firewalls, and loses nothing on the way.

use std::{
    io::Cursor,
    time::{Duration, Instant},
};

use cloudcore_protocol::Timestamp;
use image::RgbImage;
use openh264::{decoder::Decoder, formats::YUVSource as _};

use super::{
    super::{Camera, CameraError, Frame, address::Address, decode::decode},
    NetworkError, OPEN, failed,
    feed::{Feed, Feeder},
    jpeg,
    login::Guest,
    rtp::{Assembly, Unit},
    sdp::{self, Coding, Video},
    wire::{Head, Wire},
};

/// Until the first picture: a camera sends one that stands alone every few seconds.
const FIRST: Duration = Duration::from_secs(15);
/// A stream that says nothing for this long is dead.
const SILENCE: Duration = Duration::from_secs(10);
/// Longest body of an answer, bytes.
const MAX_BODY: usize = 64 * 1024;
/// Most packets that are skipped while an answer is waited for.
const MAX_SKIPPED: usize = 10_000;
/// Always something unread for this long: decoding is slower than the camera.
const BEHIND: Duration = Duration::from_secs(1);
/// Largest picture, pixels: H.264's level 5.2.
const MAX_PIXELS: usize = 9_437_184;

struct RtspCamera {
    address: Address,
    feed: Feed<Frame>,
}

pub(super) fn open(address: &Address) -> Result<Box<dyn Camera>, NetworkError> {
    Ok(Box::new(RtspCamera { address: address.clone(), feed: begin(address)? }))
}

fn begin(address: &Address) -> Result<Feed<Frame>, NetworkError> {
    let mut session = Session::open(address)?;
    let video = session.play()?;
    Feed::start(session.wire.handle()?, move |feeder| session.run(&video, feeder))
}

impl Camera for RtspCamera {
    fn capture(&mut self) -> Result<Frame, CameraError> {
        if self.feed.ended() {
            // It ended while nobody looked.
            self.feed = begin(&self.address).map_err(|problem| failed(&self.address, problem))?;
        }
        self.feed.next(FIRST).map_err(|problem| failed(&self.address, problem))
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

struct Session {
    wire: Wire,
    guest: Guest,
    sequence: u32,
    /// What the session is controlled by.
    base: String,
    id: Option<String>,
    /// From one sign of life to the next.
    keep_alive: Duration,
    channel: u8,
}

impl Session {
    fn open(address: &Address) -> Result<Self, NetworkError> {
        Ok(Self {
            wire: Wire::open(address, Instant::now() + OPEN)?,
            guest: Guest::of(address),
            sequence: 0,
            base: address.request_url().into(),
            id: None,
            keep_alive: Duration::from_secs(30),
            channel: 0,
        })
    }

    /// Has the camera send the first stream that we can decode.
    fn play(&mut self) -> Result<Video, NetworkError> {
        let url = self.base.clone();
        let (head, body) = self.ask("DESCRIBE", &url, "Accept: application/sdp\r\n")?;
        let base = head.field("content-base").or_else(|| head.field("content-location"));
        if let Some(base) = base.filter(|base| is_address(base)) {
            base.clone_into(&mut self.base);
        }
        let video = sdp::video(&String::from_utf8_lossy(&body))?;
        let control = self.control(&video.control);
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let (head, _) = self.ask("SETUP", &control, transport)?;
        let session = head.field("session").unwrap_or_default();
        let mut fields = session.split(';');
        let id = fields.next().unwrap_or_default().trim();
        if !id.is_empty() && id.len() <= 200 && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.id = Some(id.to_owned());
        }
        let timeout = fields.find_map(|field| field.trim().strip_prefix("timeout=")?.parse().ok());
        let timeout: u64 = timeout.unwrap_or(60);
        self.keep_alive = Duration::from_secs(timeout.clamp(4, 120) / 2);
        let channels = head.field("transport").unwrap_or_default().split(';').find_map(|field| {
            field.trim().strip_prefix("interleaved=")?.split('-').next()?.parse().ok()
        });
        self.channel = channels.unwrap_or(0);
        let base = self.base.clone();
        self.ask("PLAY", &base, "Range: npt=0.000-\r\n")?;
        Ok(video)
    }

    /// A stream's address, which may be relative to the session's.
    fn control(&self, control: &str) -> String {
        match control {
            "" | "*" => self.base.clone(),
            whole if whole.contains("://") => whole.to_owned(),
            part if self.base.ends_with('/') => format!("{}{part}", self.base),
            part => format!("{}/{part}", self.base),
        }
    }

    fn send(&mut self, method: &str, url: &str, more: &str) -> Result<(), NetworkError> {
        self.sequence += 1;
        let login = self.guest.answer(method, url)?;
        let login = login.map_or_else(String::new, |login| format!("Authorization: {login}\r\n"));
        let session = self.id.as_ref().map_or_else(String::new, |id| format!("Session: {id}\r\n"));
        let request = format!(
            "{method} {url} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: cloudcore-agent/{}\r\n\
             {session}{login}{more}\r\n",
            self.sequence,
            env!("CARGO_PKG_VERSION"),
        );
        self.wire.send(request.as_bytes())
    }

    /// Asks, and says who we are where the camera wants to know.
    fn ask(
        &mut self,
        method: &str,
        url: &str,
        more: &str,
    ) -> Result<(Head, Vec<u8>), NetworkError> {
        let mut tried = false;
        loop {
            self.send(method, url, more)?;
            let (head, body) = self.answer()?;
            match head.status {
                200 => return Ok((head, body)),
                401 => self.guest.challenged(&head, tried)?,
                404 => return Err(NetworkError::Format("has no such stream".into())),
                461 => return Err(NetworkError::Format("sends no RTP over TCP".into())),
                300..=399 => {
                    let problem = "sends on to another address: give that as the camera's";
                    return Err(NetworkError::Format(problem.into()));
                }
                status => return Err(NetworkError::Status(status)),
            }
            tried = true;
        }
    }

    /// The next answer; what the camera sends before it is skipped.
    fn answer(&mut self) -> Result<(Head, Vec<u8>), NetworkError> {
        for _ in 0..MAX_SKIPPED {
            self.wire.need(1, "an answer")?;
            if self.wire.pending()[0] == b'$' {
                self.interleaved()?;
            } else {
                return self.message();
            }
        }
        Err(NetworkError::Protocol("it does not answer"))
    }

    fn message(&mut self) -> Result<(Head, Vec<u8>), NetworkError> {
        let head = self.wire.head("RTSP/1.")?;
        let length = head.length()?.unwrap_or(0);
        if length > MAX_BODY {
            return Err(NetworkError::TooLarge("an answer"));
        }
        Ok((head, self.wire.exactly(length, "an answer")?))
    }

    /// One packet of a channel: `$`, the channel, the length, the packet.
    fn interleaved(&mut self) -> Result<(u8, Vec<u8>), NetworkError> {
        let head = self.wire.exactly(4, "a packet")?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        Ok((head[1], self.wire.exactly(length, "a packet")?))
    }

    /// Decodes what comes, until nobody looks any more.
    fn run(mut self, video: &Video, feeder: &Feeder<Frame>) -> Result<(), NetworkError> {
        let mut stream = Stream::of(video)?;
        let mut alive = Instant::now();
        while !feeder.idle() {
            self.wire.until(Instant::now() + SILENCE);
            if alive.elapsed() > self.keep_alive {
                alive = Instant::now();
                let base = self.base.clone();
                self.send("OPTIONS", &base, "")?;
            }
            self.wire.need(1, "no packet came")?;
            if self.wire.pending()[0] != b'$' {
                self.message()?;
                continue;
            }
            let (channel, packet) = self.interleaved()?;
            if channel != self.channel {
                continue;
            }
            stream.take(&packet, self.wire.waited(), feeder)?;
        }
        // The camera would find out by itself, later.
        let base = self.base.clone();
        self.send("TEARDOWN", &base, "").ok();
        Ok(())
    }
}

/// Whether a camera's words may be the address in a request.
fn is_address(text: &str) -> bool {
    text.starts_with("rtsp") && text.contains("://") && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What becomes of a stream's packets.
enum Stream {
    H264(Assembly, Picture),
    Jpeg(jpeg::Assembly),
}

impl Stream {
    fn of(video: &Video) -> Result<Self, NetworkError> {
        Ok(match &video.coding {
            Coding::H264 { parameters } => {
                Self::H264(Assembly::of(video.payload), Picture::new(parameters)?)
            }
            Coding::Jpeg { size } => Self::Jpeg(jpeg::Assembly::of(video.payload, *size)),
        })
    }

    /// Takes a packet. `waited` is when the camera was last waited for.
    fn take(
        &mut self,
        packet: &[u8],
        waited: Instant,
        feeder: &Feeder<Frame>,
    ) -> Result<(), NetworkError> {
        match self {
            Self::H264(assembly, picture) => {
                for unit in assembly.push(packet)?.into_iter().flatten() {
                    picture.decode(&unit, waited, feeder)?;
                }
            }
            Self::Jpeg(assembly) => {
                // Each stands alone: only those that somebody waits for are decoded.
                if let Some(file) = assembly.push(packet)?.filter(|_| feeder.wanted()) {
                    let (captured_at, captured) = (Timestamp::now(), Instant::now());
                    let image = decode(Cursor::new(file)).map_err(NetworkError::Picture)?;
                    feeder.give(Frame { image, captured_at, captured });
                }
            }
        }
        Ok(())
    }
}

/// The decoder, and whether it can go on.
struct Picture {
    decoder: Decoder,
    parameters: Vec<u8>,
    /// Since when pictures are passed over until one that stands alone.
    skipping: Option<Instant>,
}

impl Picture {
    fn new(parameters: &[u8]) -> Result<Self, NetworkError> {
        let skipping = Some(Instant::now());
        Ok(Self { decoder: decoder()?, parameters: parameters.to_vec(), skipping })
    }

    /// Decodes a picture, and makes pixels of it only where somebody waits. `waited` is when the
    /// camera was last waited for.
    fn decode(
        &mut self,
        unit: &Unit,
        waited: Instant,
        feeder: &Feeder<Frame>,
    ) -> Result<(), NetworkError> {
        let (captured_at, captured) = (Timestamp::now(), Instant::now());
        if unit.gap || waited.elapsed() > BEHIND {
            // What is decoded late is no news: go on where it can be begun anew.
            self.skipping.get_or_insert(captured);
        }
        if let Some(since) = self.skipping {
            let caught_up = waited.elapsed() < BEHIND / 4 || since.elapsed() > 2 * BEHIND;
            if !unit.key || !caught_up {
                return Ok(());
            }
            self.skipping = None;
        }
        let with_parameters;
        let bytes = if unit.key && !self.parameters.is_empty() {
            with_parameters = [self.parameters.as_slice(), &unit.bytes].concat();
            &with_parameters
        } else {
            &unit.bytes
        };
        let Ok(decoded) = self.decoder.decode(bytes) else {
            // Its state is worth nothing after what it did not understand.
            self.decoder = decoder()?;
            self.skipping = Some(captured);
            return Ok(());
        };
        let Some(decoded) = decoded.filter(|_| feeder.wanted()) else { return Ok(()) };
        let (width, height) = decoded.dimensions();
        if width == 0 || height == 0 || width.saturating_mul(height) > MAX_PIXELS {
            return Err(NetworkError::TooLarge("a picture"));
        }
        let mut pixels = vec![0; width * height * 3];
        decoded.write_rgb8(&mut pixels);
        let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
        let image = size.and_then(|(width, height)| RgbImage::from_raw(width, height, pixels));
        if let Some(image) = image {
            feeder.give(Frame { image, captured_at, captured });
        }
        Ok(())
    }
}

fn decoder() -> Result<Decoder, NetworkError> {
    Decoder::new().map_err(|_| NetworkError::Refused("this machine has no decoder left".into()))
}

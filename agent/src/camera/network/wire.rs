//! A connection to a camera: bounded reads with deadlines, over TCP or TLS.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use super::{super::address::Address, NetworkError};

/// Longest line of a head, bytes.
const MAX_LINE: usize = 8 * 1024;
/// Most lines of a head.
const MAX_LINES: usize = 100;
/// Largest chunk of a chunked body, bytes.
const MAX_CHUNK: usize = 1 << 30;
/// Read at once.
const CHUNK: usize = 32 * 1024;

/// A socket that keeps to a deadline, however many reads an answer takes.
struct Timed {
    socket: TcpStream,
    deadline: Instant,
    /// When a read last had to wait for the camera.
    waited: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        let begun = Instant::now();
        let read = self.socket.read(buffer);
        if begun.elapsed() > Duration::from_millis(1) {
            self.waited = Instant::now();
        }
        read
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// An open connection, with what was read and not yet used.
pub(super) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    used: usize,
    /// Where in a chunked body the reader is.
    chunks: Option<Chunks>,
}

/// `Transfer-Encoding: chunked`, taken apart as it comes.
#[derive(Default)]
struct Chunks {
    /// What is left of the chunk, and of the line end behind it.
    left: usize,
    /// The digits of the next one's size, as far as they came.
    size: String,
    ended: bool,
}

impl Chunks {
    /// Moves the bodies of chunks from `raw` to `body`.
    fn feed(&mut self, mut raw: &[u8], body: &mut Vec<u8>) -> Result<(), NetworkError> {
        const LINE_END: usize = 2;
        while !raw.is_empty() && !self.ended {
            if self.left > 0 {
                let part = raw.len().min(self.left);
                let payload = part.min(self.left.saturating_sub(LINE_END));
                body.extend_from_slice(&raw[..payload]);
                self.left -= part;
                raw = &raw[part..];
                continue;
            }
            let (byte, rest) = (raw[0], &raw[1..]);
            raw = rest;
            if byte != b'\n' {
                if self.size.len() > 64 {
                    return Err(NetworkError::TooLarge("the size of a chunk"));
                }
                self.size.push(char::from(byte));
                continue;
            }
            let digits = self.size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).ok().filter(|size| *size <= MAX_CHUNK);
            let size = size.ok_or(NetworkError::Protocol("the size of a chunk"))?;
            self.size.clear();
            self.ended = size == 0;
            self.left = size + LINE_END;
        }
        Ok(())
    }
}

/// The head of an answer: `HTTP/1.1 200 OK` or `RTSP/1.0 200 OK`, and its header lines.
pub(super) struct Head {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The first field of this name, lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All fields of this name.
    pub(super) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `Content-Length`, where there is one.
    pub(super) fn length(&self) -> Result<Option<usize>, NetworkError> {
        let bad = |_| NetworkError::Protocol("a length is no number");
        self.field("content-length").map(|length| length.parse().map_err(bad)).transpose()
    }
}

impl Wire {
    /// Connects, and agrees on keys where the URL says TLS.
    pub(super) fn open(address: &Address, deadline: Instant) -> Result<Self, NetworkError> {
        let socket = connect(&address.host(), address.port(), deadline)?;
        socket.set_nodelay(true).map_err(|e| NetworkError::Unreachable(e.kind()))?;
        let timed = Timed { socket, deadline, waited: Instant::now() };
        let stream = if address.tls() {
            let name = ServerName::try_from(address.host())
                .map_err(|_| NetworkError::Refused("its name can be in no certificate".into()))?;
            let connection = ClientConnection::new(tls(), name)
                .map_err(|e| NetworkError::Refused(format!("no TLS: {e}")))?;
            let mut stream = StreamOwned::new(connection, timed);
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).map_err(|e| problem(&e, "TLS"))?;
            }
            Stream::Tls(Box::new(stream))
        } else {
            Stream::Plain(timed)
        };
        Ok(Self { stream, buffer: Vec::new(), used: 0, chunks: None })
    }

    /// To end the connection from another thread.
    pub(super) fn handle(&self) -> Result<TcpStream, NetworkError> {
        self.timed().socket.try_clone().map_err(|e| NetworkError::Unreachable(e.kind()))
    }

    fn timed(&self) -> &Timed {
        match &self.stream {
            Stream::Plain(timed) => timed,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// Until when what follows must be done.
    pub(super) fn until(&mut self, deadline: Instant) {
        match &mut self.stream {
            Stream::Plain(timed) => timed.deadline = deadline,
            Stream::Tls(stream) => stream.sock.deadline = deadline,
        }
    }

    /// When a read last had to wait for the camera: long ago where more comes than is dealt with.
    #[cfg(feature = "rtsp")]
    pub(super) fn waited(&self) -> Instant {
        self.timed().waited
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), NetworkError> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        sent.map_err(|e| problem(&e, "a request"))
    }

    /// What was read and not used.
    pub(super) fn pending(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Marks so much of it as used.
    pub(super) fn take(&mut self, bytes: usize) {
        self.used = (self.used + bytes).min(self.buffer.len());
    }

    /// Reads what there is; waits where there is nothing. `Closed` at the end.
    pub(super) fn fill(&mut self, what: &'static str) -> Result<(), NetworkError> {
        // What was used makes room: the buffer holds no more than what is asked of it.
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.chunks.as_ref().is_some_and(|chunks| chunks.ended) {
            return Err(NetworkError::Closed);
        }
        let had = self.buffer.len();
        self.buffer.resize(had + CHUNK, 0);
        let room = &mut self.buffer[had..];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(room),
            Stream::Tls(stream) => stream.read(room),
        };
        self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(NetworkError::Closed),
            Ok(_) => self.dechunk(had),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(problem(&e, what)),
        }
    }

    /// What follows is a chunked body.
    pub(super) fn chunked(&mut self) -> Result<(), NetworkError> {
        self.chunks = Some(Chunks::default());
        self.dechunk(self.used)
    }

    fn dechunk(&mut self, from: usize) -> Result<(), NetworkError> {
        let Some(chunks) = &mut self.chunks else { return Ok(()) };
        let raw = self.buffer.split_off(from);
        chunks.feed(&raw, &mut self.buffer)
    }

    /// Waits until so many bytes are pending. The caller bounds the number.
    pub(super) fn need(&mut self, bytes: usize, what: &'static str) -> Result<(), NetworkError> {
        while self.pending().len() < bytes {
            self.fill(what)?;
        }
        Ok(())
    }

    /// Exactly so many bytes. The caller bounds the number.
    pub(super) fn exactly(
        &mut self,
        bytes: usize,
        what: &'static str,
    ) -> Result<Vec<u8>, NetworkError> {
        self.need(bytes, what)?;
        let taken = self.pending()[..bytes].to_vec();
        self.take(bytes);
        Ok(taken)
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<String, NetworkError> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.pending()[looked..].iter().position(|byte| *byte == b'\n') {
                let line = &self.pending()[..looked + end];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let line = String::from_utf8_lossy(line).into_owned();
                self.take(looked + end + 1);
                return Ok(line);
            }
            looked = self.pending().len();
            if looked > MAX_LINE {
                return Err(NetworkError::TooLarge("a line of a header"));
            }
            self.fill("a header")?;
        }
    }

    /// Header lines up to the empty one.
    pub(super) fn fields(&mut self) -> Result<Vec<(String, String)>, NetworkError> {
        let mut fields = Vec::new();
        for _ in 0..MAX_LINES {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (key, value) =
                line.split_once(':').ok_or(NetworkError::Protocol("a header has no colon"))?;
            fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        Err(NetworkError::TooLarge("a header"))
    }

    /// The head of an answer in this protocol (`HTTP/1.`, `RTSP/1.`).
    pub(super) fn head(&mut self, protocol: &str) -> Result<Head, NetworkError> {
        let line = self.line()?;
        let status = line
            .strip_prefix(protocol)
            .and_then(|rest| rest.split_ascii_whitespace().nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or(NetworkError::Protocol("its answer has no status"))?;
        Ok(Head { status, fields: self.fields()? })
    }
}

impl Head {
    /// Of header lines that stand alone.
    pub(super) fn of(fields: Vec<(String, String)>) -> Self {
        Self { status: 200, fields }
    }
}

fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, NetworkError> {
    let unknown = |_| NetworkError::Refused("its name is not known".into());
    let mut last = NetworkError::Refused("its name has no address".into());
    for address in (host, port).to_socket_addrs().map_err(unknown)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NetworkError::Slow("connecting"));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => return Ok(socket),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                last = NetworkError::Slow("connecting");
            }
            Err(e) => last = NetworkError::Unreachable(e.kind()),
        }
    }
    Err(last)
}

/// This machine's own authorities; read once.
fn tls() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Arc::new(config)
    }))
}

fn problem(error: &io::Error, what: &'static str) -> NetworkError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => NetworkError::Slow(what),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => NetworkError::Closed,
        // rustls' own words: nothing of the peer's.
        io::ErrorKind::InvalidData => match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => {
                NetworkError::Refused(format!("no TLS: {inner}"))
            }
            _ => NetworkError::Protocol("no TLS"),
        },
        kind => NetworkError::Unreachable(kind),
    }
}

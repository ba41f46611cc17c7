//! A real PostgreSQL server of the test run's own: an ordinary user's, in a temporary folder, on
//! a free port of 127.0.0.1.
//!
//! A shell stands over it. It ends the server and removes the folder when its standard input
//! closes, which it does however the run ends.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::world::PATIENCE;

const USER: &str = "cloudcore";
const SECRET: &str = "only-for-this-test-run";

/// `initdb` and the server refuse to run as root.
const ORDINARY: [&str; 4] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];

/// Made once; then each line that it reads is an order.
const OVERSEER: &str = r#"
dir=$(mktemp -d /tmp/cloudcore-pg.XXXXXX) && cd "$dir" && echo "$dir" || exit 1
printf %s "$SECRET" > secret
"$BIN/initdb" --pgdata=data --username="$ADMIN" --pwfile=secret --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync > log 2>&1 || cat log >&2
while read -r order; do
    case $order in
    start)
        # Whoever was killed leaves his shared memory behind until the last of his children has
        # noticed it; until then nobody takes his place.
        while
            "$BIN/postgres" -D data -k "$dir" -h 127.0.0.1 -p "$PORT" $OPTIONS >> log 2>&1 &
            server=$!
            sleep 0.2
            ! kill -0 $server 2> /dev/null && grep -q 'shared memory block' log
        do : > log; done ;;
    kill) { kill -KILL $server; wait $server; } 2> /dev/null ;;
    esac
done
{ kill -QUIT $server; wait $server; } 2> /dev/null
rm -rf "$dir"
"#;

/// A server.
pub struct Server {
    overseer: Mutex<Child>,
    dir: PathBuf,
    port: u16,
}

/// The run's server, started when the first test wants it.
pub fn shared() -> Arc<Server> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    // The whole run is thrown away when the machine goes down: nothing waits for the disk.
    let start = || Server::start("-c fsync=off -c full_page_writes=off");
    Arc::clone(SERVER.get_or_init(start))
}

impl Server {
    /// One that keeps what it has promised, for who means to kill it.
    pub fn durable() -> Arc<Self> {
        Self::start("")
    }

    fn start(options: &str) -> Arc<Self> {
        let port = free_port();
        let mut command = match nix::unistd::geteuid().is_root() {
            true => {
                let mut command = Command::new(ORDINARY[0]);
                command.args(&ORDINARY[1..]).arg("sh");
                command
            }
            false => Command::new("sh"),
        };
        let mut overseer = command
            .args(["-c", OVERSEER])
            .env("BIN", binaries())
            .env("ADMIN", USER)
            .env("SECRET", SECRET)
            .env("PORT", port.to_string())
            .env("OPTIONS", format!("-c max_connections=300 -c shared_buffers=32MB {options}"))
            // A Ctrl-C is for the tests: the server ends after them.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut dir = Vec::new();
        let mut said = overseer.stdout.take().expect("it is piped");
        let mut byte = [0];
        while said.read(&mut byte).expect("it can be read") == 1 && byte != [b'\n'] {
            dir.push(byte[0]);
        }
        let dir = PathBuf::from(String::from_utf8(dir).expect("a path"));
        let server = Self { overseer: Mutex::new(overseer), dir, port };
        server.order("start");
        Arc::new(server)
    }

    fn order(&self, order: &str) {
        let mut overseer = self.overseer.lock().expect("nobody panics with it");
        let stdin = overseer.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{order}").expect("the overseer lives as long as the run");
        if order == "start" {
            self.wait_ready();
        }
    }

    /// `kill -9` of the server's first process; its others follow by themselves.
    pub fn kill(&self) {
        self.order("kill");
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
            assert!(Instant::now() < end, "PostgreSQL does not die");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again, on the same port and data.
    pub fn restart(&self) {
        self.order("start");
    }

    fn wait_ready(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.sql("select 1").is_ok_and(|answer| answer.trim() == "1") {
            let log = || std::fs::read_to_string(self.dir.join("log"));
            assert!(Instant::now() < end, "PostgreSQL does not start: {:?}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn sql(&self, statement: &str) -> Result<String, String> {
        self.sql_in("postgres", statement)
    }

    fn sql_in(&self, database: &str, statement: &str) -> Result<String, String> {
        let output = Command::new(binaries().join("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command"])
            .arg(statement)
            .arg(self.url(database))
            .stdin(Stdio::null())
            .output()
            .expect("psql starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{SECRET}@127.0.0.1:{}/{database}", self.port)
    }

    /// A new and empty database.
    pub fn database(self: &Arc<Self>) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("story_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("create database {name}")).expect("a database");
        Database { server: Arc::clone(self), name }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let overseer = self.overseer.get_mut().expect("nobody panics with it");
        drop(overseer.stdin.take());
        let _ = overseer.wait();
    }
}

/// A database of one test, dropped with it.
pub struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    /// What a statement gives, as psql prints it.
    pub fn sql(&self, statement: &str) -> Result<String, String> {
        self.server.sql_in(&self.name, statement)
    }

    /// For `--database-url`.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.server.sql(&format!("drop database {} with (force)", self.name));
    }
}

/// Where Debian keeps the newest server's programs; only clients are on the path.
fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions
            .map(|version| version.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists())
            .max_by_key(|bin| {
                let version = bin.parent().and_then(Path::file_name);
                version.and_then(|v| v.to_str()?.parse::<u32>().ok())
            })
            .expect("PostgreSQL is missing: run `deploy/setup.sh test`")
    })
}

/// Below what the system gives to those who ask for any port, so that nobody gets it while the
/// server is down.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id();
    loop {
        let n = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let port = 20_000 + u16::try_from(n).expect("below 10,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
#[test]
fn the_server_serves_dies_and_comes_back() {
    let server = Server::durable();
    let dir = server.dir.clone();
    let database = server.database();
    database.sql("create table kept (n int)").unwrap();
    database.sql("insert into kept values (7)").unwrap();
    server.kill();
    assert!(database.sql("select 1").is_err());
    server.restart();
    assert_eq!(database.sql("select n from kept").unwrap().trim(), "7");
    drop(database);
    assert_eq!(server.sql("select 1 from pg_database where datname like 'story%'").unwrap(), "");
    drop(server);
    assert!(!dir.exists());
}

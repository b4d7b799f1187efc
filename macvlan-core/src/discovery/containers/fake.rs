//! Tests against engines that are not what they should be.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::{LocalSet, spawn_local},
    time::sleep,
};

use crate::discovery::containers::*;

const ID: &str = "ed6e59f70b868973ab3e06424546f5621801ca423f9e983d8fc8b69079edb69a";

const HOSTS: &str = "8861d1a6b9f1ac2ad9e8f5b3c39f3ec2f3a3d2b9c8e2c4b1a09f8e7d6c5b4a39";

const OWNER: &str = "609a6f77d8fa026b7c0c2566c70ec21972c1710a53890801b5f7086500711bf2";

/// Far more than an engine is given, on a machine however slow.
const LONG: Duration = Duration::from_secs(20);

/// What it does once it has read a request.
#[derive(Clone)]
enum Manner {
    /// Answers with this list, and of each container with this process.
    Answers { list: String, process: u32, server: &'static str },
    /// The same, but only after a while.
    Late(Duration, Box<Manner>),
    /// Sends exactly this and closes.
    Says(Vec<u8>),
    /// Never says anything.
    Hangs,
    /// Sends this, and then this again and again without end.
    Floods(&'static [u8], Vec<u8>),
}

/// An engine on a socket of its own.
struct Fake {
    directory: TempDir,
    /// Connections so far.
    asked: Rc<Cell<usize>>,
}

impl Fake {
    fn start(manner: Manner) -> Self {
        let fake = Self { directory: tempfile::tempdir().unwrap(), asked: Rc::default() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let asked = fake.asked.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                asked.set(asked.get() + 1);
                spawn_local(serve(stream, manner.clone()));
            }
        });
        fake
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }

    fn containers(&self) -> Containers {
        Containers::new([self.socket()], self.directory.path())
    }
}

async fn serve(mut stream: UnixStream, manner: Manner) {
    let mut request = [0; 4096];
    let len = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..len]).into_owned();
    let manner = match manner {
        Manner::Late(delay, manner) => {
            sleep(delay).await;
            *manner
        }
        manner => manner,
    };
    match manner {
        Manner::Answers { list, process, server } => {
            let is_list = request.starts_with("GET /containers/json ");
            let body = if is_list { list } else { format!(r#"{{"State":{{"Pid":{process}}}}}"#) };
            let _ = stream.write_all(&ok(&format!("Server: {server}\r\n"), &body)).await;
        }
        Manner::Says(text) => {
            let _ = stream.write_all(&text).await;
        }
        Manner::Hangs => sleep(LONG).await,
        Manner::Floods(head, body) => {
            let _ = stream.write_all(head).await;
            while stream.write_all(&body).await.is_ok() {}
        }
        Manner::Late(..) => unreachable!("late but once"),
    }
}

fn ok(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn answers(server: &'static str) -> Manner {
    let list = format!(r#"[{{"Id":"{ID}","Names":["/web"],"HostConfig":{{"NetworkMode":"lan"}}}}]"#);
    Manner::Answers { list, process: std::process::id(), server }
}

/// Where the tests run: the fake engines say that it is a container of theirs.
fn here() -> Place {
    Place { nsid: Some(0), label: Some(format!("/proc/{}/ns/net", std::process::id())) }
}

/// Runs a test with its fakes on one thread.
fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test());
}

fn named(engine: &'static str, name: &str) -> Option<Container> {
    Some(Container { engine, id: ID.into(), name: Some(name.into()) })
}

#[test]
fn a_namespace_without_a_telling_cgroup_is_found_by_asking_and_only_once() {
    run(async || {
        let fake = Fake::start(answers("Docker/20.10.24 (linux)"));
        let mut containers = fake.containers();
        for _ in 0..3 {
            assert_eq!(containers.of(&here()).await, named("docker", "web"));
        }
        // One list, one container.
        assert_eq!(fake.asked.get(), 2);
    });
}

#[test]
fn podman_is_known_by_its_answers_whatever_its_socket_is_called() {
    run(async || {
        let fake = Fake::start(answers("Libpod/4.3.1 (linux)"));
        assert_eq!(fake.containers().of(&here()).await, named("podman", "web"));
    });
}

#[test]
fn a_container_without_a_network_of_its_own_is_neither_named_nor_asked_about() {
    run(async || {
        let list = format!(
            r#"[{{"Id":"{OWNER}","Names":["/pod"]}},
                {{"Id":"{ID}","Names":["/web"],"HostConfig":{{"NetworkMode":"container:{OWNER}"}}}},
                {{"Id":"{HOSTS}","Names":["/agent"],"HostConfig":{{"NetworkMode":"host"}}}}]"#
        );
        let fake = Fake::start(Manner::Answers { list, process: std::process::id(), server: "Docker" });
        let found = fake.containers().of(&here()).await.unwrap();
        assert_eq!((found.id.as_str(), found.name.as_deref()), (OWNER, Some("pod")));
        // The list, and the one container with a namespace of its own.
        assert_eq!(fake.asked.get(), 2);
    });
}

#[test]
fn a_child_beside_its_master_or_without_a_path_needs_no_engine() {
    run(async || {
        let fake = Fake::start(answers("Docker"));
        let mut containers = fake.containers();
        assert_eq!(containers.of(&Place { nsid: None, ..here() }).await, None);
        assert_eq!(containers.of(&Place { label: None, ..here() }).await, None);
        let gone = Place { label: Some("no-such-namespace".into()), ..here() };
        assert_eq!(containers.of(&gone).await, None);
        assert_eq!(fake.asked.get(), 0);
    });
}

#[test]
fn a_slow_engine_is_waited_for() {
    run(async || {
        let fake = Fake::start(Manner::Late(Duration::from_millis(100), Box::new(answers("Docker"))));
        assert_eq!(fake.containers().of(&here()).await, named("docker", "web"));
    });
}

#[test]
fn a_hung_engine_is_given_up_and_left_alone_while_others_answer() {
    run(async || {
        let (hung, well) = (Fake::start(Manner::Hangs), Fake::start(answers("Docker")));
        let mut containers = Containers::new([hung.socket(), well.socket()], hung.directory.path());
        let start = Instant::now();
        assert_eq!(containers.of(&here()).await, named("docker", "web"));
        assert!(start.elapsed() < LONG);

        (containers.look, containers.answers) = (None, HashMap::new());
        assert_eq!(containers.of(&here()).await, named("docker", "web"));
        assert_eq!((hung.asked.get(), well.asked.get()), (1, 4));
    });
}

#[test]
fn that_there_is_no_container_is_remembered_for_a_while() {
    run(async || {
        let list = "[]".to_owned();
        let fake = Fake::start(Manner::Answers { list, process: 0, server: "Docker" });
        let mut containers = fake.containers();
        for _ in 0..3 {
            assert_eq!(containers.of(&here()).await, None);
            containers.look = None;
        }
        assert_eq!(fake.asked.get(), 1);
        for answer in containers.answers.values_mut() {
            answer.until = Instant::now();
        }
        assert_eq!(containers.of(&here()).await, None);
        assert_eq!(fake.asked.get(), 2);
    });
}

#[test]
fn garbage_is_no_container_and_no_panic() {
    run(async || {
        let entries = format!(r#"[{{"Id":"{ID}","Names":["/web"]}},{{"Id":7}}]"#);
        let deep = ok("", &"[".repeat(1 << 20));
        for said in [
            Vec::new(),
            b"\0\xff\xfe garbage \r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]".to_vec(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n".to_vec(),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n".to_vec(),
            [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(1000), ok("", "[]")].concat(),
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n[]".to_vec(),
            ok("", &entries),
            ok("", "{}"),
            ok("", "null"),
            ok("", r#"{"message":"page not found"}"#),
            deep,
        ] {
            let shown = String::from_utf8_lossy(&said[..said.len().min(60)]).into_owned();
            let fake = Fake::start(Manner::Says(said));
            assert_eq!(fake.containers().of(&here()).await, None, "{shown}");
            assert_eq!(fake.asked.get(), 1, "{shown}");
        }
    });
}

#[test]
fn an_answer_without_end_is_given_up() {
    run(async || {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        for (head, body) in [
            (HEAD, vec![b' '; 1 << 20]),
            (HEAD, vec![b'['; 1 << 20]),
            (b"HTTP/1.1 200 OK\r\n", b"Header: more\r\n".to_vec()),
            (b"", vec![b'x'; 1 << 16]),
        ] {
            let fake = Fake::start(Manner::Floods(head, body));
            let start = Instant::now();
            assert_eq!(fake.containers().of(&here()).await, None);
            assert!(start.elapsed() < LONG);
        }
    });
}

#[test]
fn an_answer_is_never_kept_beyond_its_limit() {
    run(async || {
        let body = "x".repeat(1001);
        let fake = Fake::start(Manner::Says(ok("", &body)));
        let get = async |limit| http::get(http::connect(&fake.socket()).await.unwrap(), "/", limit).await;
        assert_eq!(get(1001).await.unwrap().body.len(), 1001);
        let refused = format!("{:#}", get(1000).await.unwrap_err());
        assert_eq!(refused, "cannot read the answer to /: length limit exceeded");
    });
}

#[test]
fn what_is_no_socket_is_no_engine() {
    run(async || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let sockets = [file, directory.path().to_owned(), "/no/such/socket".into(), PathBuf::new()];
        let mut containers = Containers::new(sockets, Path::new("/no/such/storage"));
        assert_eq!(containers.of(&here()).await, None);
    });
}

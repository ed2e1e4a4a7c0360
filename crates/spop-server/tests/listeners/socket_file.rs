//! The file of a Unix socket: its mode, what was there before, and what is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net as std_net;
use std::path::Path;

use spop_server::{Endpoint, ListenError, UnixListener, serve};

use crate::support::{obedient, only};
use crate::{bind, connect_unix};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn owner_and_group_may_connect_or_whom_the_mode_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&path).await.unwrap();
    assert_eq!(mode(&path), 0o660);
    drop(listener);
    for asked in [0o600, 0o666] {
        let listener = UnixListener::bind_with_mode(&path, asked).await.unwrap();
        assert_eq!(mode(&path), asked);
        drop(listener);
    }
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    // Its file stays, as after a crash.
    drop(std_net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(path.to_str().unwrap()).await;
    assert_eq!(listener.path(), Some(&*path));
    let served = tokio::spawn(serve(listener, obedient()).into_future());
    let mut client = connect_unix(&path).await.unwrap();
    let ack = client.notify("ready", []).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    served.abort();
    assert!(served.await.unwrap_err().is_cancelled());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_in_use_is_left_to_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let living = std_net::UnixListener::bind(&path).unwrap();
    let refused = UnixListener::bind(&path).await.unwrap_err();
    assert!(matches!(refused, ListenError::InUse(_)));
    assert_eq!(
        refused.to_string(),
        format!(
            "unix@{} is in use: stop whoever listens there, or choose another address",
            path.display()
        )
    );
    // Nor is one whose queue is full taken for dead.
    let queued: Vec<_> = std::iter::repeat_with(|| {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket2::SockAddr::unix(&path).unwrap();
        socket.connect(&address).map(|()| socket)
    })
    .take_while(Result::is_ok)
    .collect();
    assert!(!queued.is_empty());
    let refused = UnixListener::bind(&path).await.unwrap_err();
    assert!(matches!(refused, ListenError::InUse(_)));
    assert!(path.exists());
    drop(living);
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "precious").unwrap();
    let refused = UnixListener::bind(&file).await.unwrap_err();
    assert!(matches!(refused, ListenError::NotASocket(_)));
    assert_eq!(
        refused.to_string(),
        format!(
            "{} exists and is not a socket: choose another path, or remove it",
            file.display()
        )
    );
    assert_eq!(fs::read(&file).unwrap(), b"precious");

    // Nor is a link to a dead socket followed.
    let target = dir.path().join("target.sock");
    drop(std_net::UnixListener::bind(&target).unwrap());
    let link = dir.path().join("link.sock");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let refused = UnixListener::bind(&link).await.unwrap_err();
    assert!(matches!(refused, ListenError::NotASocket(_)));
    assert!(target.exists());
}

#[tokio::test]
async fn the_file_of_a_successor_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let old = UnixListener::bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let new = UnixListener::bind(&path).await.unwrap();
    drop(old);
    assert!(path.exists());
    drop(new);
    assert!(!path.exists());
}

#[tokio::test]
async fn paths_that_cannot_be_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(120));
    let refused = UnixListener::bind(&long).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{} has {} bytes, and the path of a Unix socket at most 107: choose a shorter one",
            long.display(),
            long.as_os_str().len()
        )
    );
    let nowhere = dir.path().join("missing/agent.sock");
    let refused = UnixListener::bind(&nowhere).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "cannot listen on unix@{}: No such file or directory (os error 2)",
            nowhere.display()
        )
    );
    let taken = bind("127.0.0.1:0").await;
    let refused = taken.endpoint().bind().await.unwrap_err();
    assert!(matches!(refused, ListenError::InUse(_)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_name_fills_the_whole_address() {
    use std::os::linux::net::SocketAddrExt as _;

    let name = format!("agent-{}", std::process::id());
    let endpoint: Endpoint = format!("abns@{name}").parse().unwrap();
    let listener = endpoint.bind().await.unwrap();
    assert_eq!(listener.endpoint(), endpoint);
    assert!(listener.path().is_none());
    let refused = endpoint.bind().await.unwrap_err();
    assert!(matches!(refused, ListenError::InUse(_)));
    let too_long = format!("abns@{}", "x".repeat(108)).parse::<Endpoint>();
    assert!(too_long.unwrap().bind().await.is_err());

    // As HAProxy writes the address; without the zeros it is another one.
    let mut padded = name.clone().into_bytes();
    padded.resize(107, 0);
    let connect = |name: &[u8]| {
        let address = std_net::SocketAddr::from_abstract_name(name).unwrap();
        std_net::UnixStream::connect_addr(&address)
    };
    assert!(connect(&padded).is_ok());
    assert!(connect(name.as_bytes()).is_err());
}

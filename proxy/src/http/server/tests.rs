use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::cluster::NodeSpec;

struct Running {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let metrics = Arc::new(Metrics::new("1.2.3").unwrap());
        let spec = NodeSpec {
            host: "db".into(),
            port: 5432,
            weight: 1,
            name: None,
        };
        let cluster = Cluster::new(&[spec], &metrics);
        let (phase, receiver) = watch::channel(Phase::Starting);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server {
            metrics,
            cluster,
            phase: receiver,
        };
        Self {
            address,
            phase,
            task: tokio::spawn(server.run(listener)),
        }
    }

    /// The answer to raw bytes, up to the end of the connection.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> String {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_reads_them() {
    let running = Running::start().await;
    let answer = running.ask("GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(
        answer.contains("pgconvoy_build_info{version=\"1.2.3\"} 1"),
        "{answer}"
    );
}

#[tokio::test]
async fn alive_is_not_yet_ready() {
    let running = Running::start().await;
    assert!(
        running
            .ask("GET", "/healthz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    for (phase, why) in [
        (Phase::Starting, "starting"),
        (Phase::Draining, "draining"),
        (Phase::Serving, "no primary"),
    ] {
        running.phase.send_replace(phase);
        let answer = running.ask("GET", "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains(why), "{answer}");
    }
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let running = Running::start().await;
    let answer = running.ask("HEAD", "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn other_paths_methods_and_garbage_are_refused() {
    let running = Running::start().await;
    for (method, path, status) in [
        ("GET", "/", "404"),
        ("GET", "/metrics/", "404"),
        ("GET", "/../metrics", "404"),
        ("POST", "/metrics", "405"),
        ("DELETE", "/readyz", "405"),
    ] {
        let answer = running.ask(method, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answer}"
        );
    }
    assert!(
        running
            .send("\0\0\0\x08\x04\u{16}\u{2f}\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert!(
        running
            .ask("GET", "/healthz")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn ready_means_accepting_clients_and_knowing_a_primary() {
    for (phase, primary, ready) in [
        (Phase::Starting, Some(NodeId(0)), false),
        (Phase::Serving, None, false),
        (Phase::Serving, Some(NodeId(1)), true),
        (Phase::Draining, Some(NodeId(0)), false),
    ] {
        assert_eq!(
            unready(phase, primary).is_none(),
            ready,
            "{phase:?} {primary:?}"
        );
    }
}

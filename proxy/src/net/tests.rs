//! A stream keeps its bytes and their order, sent in batches or one by one.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::{Stream, flush, install, set_options};

/// A stream, and its other end, which blocks.
async fn pair() -> (Stream, std::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let far = std::net::TcpStream::connect(address).unwrap();
    let (near, _) = listener.accept().await.unwrap();
    (Stream::connected(near).unwrap(), far)
}

/// Runs a test on a thread of its own as a worker would, once collecting its sends and once not.
fn both_ways<F: Future<Output = ()> + 'static>(test: fn(collecting: bool) -> F) {
    for collecting in [true, false] {
        let thread = std::thread::spawn(move || {
            if collecting && install().is_err() {
                eprintln!("SKIPPED: no io_uring here");
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(flush)
                .build()
                .unwrap();
            runtime.block_on(test(collecting));
        });
        thread.join().unwrap();
    }
}

/// Any timer does: the thread goes to sleep, and that ends the turn.
async fn end_the_turn() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn drain(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    let mut buf = BytesMut::from(bytes);
    poll_fn(|cx| stream.poll_drain(cx, &mut buf)).await
}

#[test]
fn small_amounts_leave_at_the_end_of_the_turn() {
    both_ways(|collecting| async move {
        let (mut stream, mut far) = pair().await;
        far.set_nonblocking(true).unwrap();
        drain(&mut stream, b"one").await.unwrap();
        assert_eq!(stream.is_flushed(), !collecting);
        let mut got = [0; 8];
        if collecting {
            assert!(far.read(&mut got).is_err(), "sent within the turn");
        }
        end_the_turn().await;
        assert!(stream.is_flushed());
        assert_eq!(far.read(&mut got).unwrap(), 3);
    });
}

#[test]
fn everything_arrives_in_order_whatever_its_size_and_however_slow_the_reader() {
    both_ways(|_| async {
        let (mut stream, mut far) = pair().await;
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        let mut sent = Vec::new();
        // Far more than the sockets hold, small and large by turns.
        for n in 0..3_000_u32 {
            let size = if n % 3 == 0 { 20_000 } else { 5_000 };
            let bytes: Vec<u8> = (0..size).map(|i| (i + n).to_le_bytes()[0]).collect();
            drain(&mut stream, &bytes).await.unwrap();
            sent.extend_from_slice(&bytes);
        }
        stream.shutdown().await.unwrap();
        drop(stream);
        assert!(
            reader.join().unwrap() == sent,
            "bytes were lost or mixed up"
        );
    });
}

#[test]
fn what_was_taken_is_sent_although_the_stream_is_dropped() {
    both_ways(|_| async {
        let (mut stream, mut far) = pair().await;
        drain(&mut stream, b"last words").await.unwrap();
        drop(stream);
        end_the_turn().await;
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"last words");
    });
}

#[test]
fn an_error_of_a_batch_shows_at_the_next_call() {
    both_ways(|_| async {
        let (mut stream, far) = pair().await;
        drop(far);
        let lost = async {
            loop {
                if drain(&mut stream, b"x").await.is_err() {
                    return;
                }
                end_the_turn().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), lost)
            .await
            .unwrap();
    });
}

#[test]
fn what_waits_does_not_wait_for_a_long_turn() {
    both_ways(|_| async {
        let (mut waiting, _far) = pair().await;
        let (mut busy, mut source) = pair().await;
        source.write_all(&[0; 100 * 64]).unwrap();
        let mut buf = BytesMut::with_capacity(64);
        poll_fn(|cx| busy.poll_fill(cx, &mut buf)).await.unwrap();
        drain(&mut waiting, b"x").await.unwrap();
        // It is all there, so none of this gives the thread a chance to sleep.
        for _ in 0..70 {
            buf = BytesMut::with_capacity(64);
            poll_fn(|cx| busy.poll_fill(cx, &mut buf)).await.unwrap();
        }
        assert!(waiting.is_flushed());
    });
}

#[tokio::test]
async fn accepted_sockets_inherit_the_listeners_options() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    set_options(socket2::SockRef::from(&listener)).unwrap();
    let address = listener.local_addr().unwrap();
    let _far = std::net::TcpStream::connect(address).unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let near = socket2::SockRef::from(&near);
    assert!(near.tcp_nodelay().unwrap());
    assert!(near.keepalive().unwrap());
    assert_eq!(near.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
}

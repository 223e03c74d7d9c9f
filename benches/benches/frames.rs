//! Frame scanning: how fast headers are read off what a server sends.

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use pgconvoy::protocol::frame::peek_backend;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Rows of this many bytes each, header included, then CommandComplete and ReadyForQuery.
fn result(rows: usize, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut frame = |tag: u8, body: &[u8]| {
        all.push(tag);
        all.extend((body.len() as u32 + 4).to_be_bytes());
        all.extend(body);
    };
    for _ in 0..rows {
        frame(b'D', &vec![b'x'; bytes - 5]);
    }
    frame(b'C', b"SELECT 1000\0");
    frame(b'Z', b"I");
    all
}

#[divan::bench(args = [32, 128, 1024])]
fn scan_1000_rows(bencher: Bencher<'_, '_>, bytes: usize) {
    let result = result(1000, bytes);
    bencher
        .counter(BytesCount::new(result.len()))
        .bench_local(|| {
            let mut rest = black_box(result.as_slice());
            let mut frames = 0_usize;
            while let Ok(Some((_, header))) = peek_backend(rest) {
                let Some(after) = rest.get(header.len..) else {
                    break;
                };
                rest = after;
                frames += 1;
            }
            frames
        });
}

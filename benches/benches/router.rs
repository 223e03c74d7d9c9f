//! The router: a known shape (lexer and fingerprint, look-up, both), a new one (the parser, too), and a write.

use divan::{AllocProfiler, Bencher, black_box};
use pgconvoy::router::{Quoting, Router};
use pgconvoy_benches::statements;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// As many shapes as a worker remembers in earnest are not needed to miss.
const SHAPES: usize = 4096;

fn main() {
    divan::main();
}

fn router() -> Router {
    Router::new([0x5eed, 0x0ff], SHAPES)
}

fn repeat(bencher: Bencher<'_, '_>, statement: fn(usize) -> String) {
    let mut router = router();
    let texts: Vec<String> = (0..256).map(statement).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % texts.len();
        router.decide(black_box(texts[next].as_bytes()), Quoting::Standard)
    });
}

#[divan::bench]
fn known_shape_pgbench(bencher: Bencher<'_, '_>) {
    repeat(bencher, statements::pgbench);
}

#[divan::bench]
fn known_shape_orm_200_bytes(bencher: Bencher<'_, '_>) {
    repeat(bencher, statements::orm);
}

#[divan::bench]
fn lexer_and_fingerprint_pgbench(bencher: Bencher<'_, '_>) {
    let (router, text) = (router(), statements::pgbench(7));
    bencher.bench_local(|| router.shape(black_box(text.as_bytes())));
}

#[divan::bench]
fn lexer_and_fingerprint_orm_200_bytes(bencher: Bencher<'_, '_>) {
    let (router, text) = (router(), statements::orm(7));
    bencher.bench_local(|| router.shape(black_box(text.as_bytes())));
}

#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let mut router = router();
    let shapes: Vec<u128> = (0..256)
        .map(|n| {
            let text = statements::new_shape(n);
            router.decide(text.as_bytes(), Quoting::Standard);
            router.shape(text.as_bytes())
        })
        .collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % shapes.len();
        router.recall(black_box(shapes[next]))
    });
}

#[divan::bench]
fn write_by_its_first_word(bencher: Bencher<'_, '_>) {
    repeat(bencher, statements::insert);
}

#[divan::bench]
fn new_shape_200_bytes(bencher: Bencher<'_, '_>) {
    let mut router = router();
    let mut next = 0;
    bencher
        .with_inputs(|| {
            next += 1;
            statements::new_shape(next)
        })
        .bench_local_refs(|text| router.decide(black_box(text.as_bytes()), Quoting::Standard));
}

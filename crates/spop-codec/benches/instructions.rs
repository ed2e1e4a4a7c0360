//! One case, a number of times: for counting instructions with callgrind.
//!
//! `cargo xtask bench codec` runs it twice with different numbers; the difference is what a
//! frame costs, without the start of the program.

use std::hint::black_box;

use bytes::BytesMut;

mod support;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let case = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let small = support::batch(&support::notify());
    let large = support::batch(&support::large_notify());
    let hello = support::hello();
    let mut buffer = BytesMut::with_capacity(2 * large.len());
    for _ in 0..times.unwrap_or(1) {
        match case.as_str() {
            "decode-visit" => {
                black_box(support::decode_and_visit(&mut buffer, black_box(&small)));
            }
            "decode-visit-spop" => {
                black_box(support::spop_decode_and_visit(black_box(&small)));
            }
            "decode" => {
                black_box(support::decode(&mut buffer, black_box(&small)));
            }
            "decode-2k" => {
                black_box(support::decode(&mut buffer, black_box(&large)));
            }
            "decode-2k-spop" => {
                black_box(support::spop_decode_and_visit(black_box(&large)));
            }
            "ack" => {
                for _ in 0..support::BATCH {
                    buffer.clear();
                    support::encode_ack(&mut buffer);
                    black_box(&buffer);
                }
            }
            "ack-spop" => {
                for _ in 0..support::BATCH {
                    black_box(support::spop_encode_ack());
                }
            }
            _ => {
                black_box(support::exchange(black_box(&hello), black_box(&small)));
            }
        }
    }
}

//! The live view as its readers have it: in a real browser, over agents that real HAProxys and
//! Valkeys are connected to.
//!
//! One browser for all of it, since that takes longest to start: each module is a scene, and
//! begins with a page of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../admin/exposition.rs"]
#[allow(dead_code, reason = "the other test's own")]
mod exposition;
mod numbers;
mod reading;
mod restart;
mod valkeys;
mod view;

use spop_testkit::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn the_live_view() {
    let mut browser = Browser::start().await.unwrap();
    numbers::are_those_of_the_metrics(&mut browser).await;
    numbers::an_agent_that_nobody_asked(&mut browser).await;
    numbers::a_policy_that_leaves(&mut browser).await;
    numbers::the_most_limited_clients(&mut browser).await;
    valkeys::a_lost_primary_is_seen(&mut browser).await;
    valkeys::none_that_is_reached_is_said(&mut browser).await;
    restart::is_said_and_survived(&mut browser).await;
    reading::on_a_phone(&mut browser).await;
    reading::by_keyboard(&mut browser).await;
    reading::in_the_dark_and_in_the_light(&mut browser).await;
    reading::nobody_looks(&mut browser).await;
}

//! An agent that is gone, and comes back.

use serde_json::json;
use spop_testkit::browser::Browser;

use crate::view::{View, ask, start};

pub(crate) async fn is_said_and_survived(browser: &mut Browser) {
    let mut view = View::open(browser, &[]).await;
    let mut haproxy = view.haproxy().await;
    for last in 0..20 {
        ask(&mut haproxy, last, "default").await;
    }
    view.until(
        "the requests",
        "document.getElementById('total-allowed').value === '20'",
    )
    .await;
    view.evaluate("window.opened = 'once'").await;
    view.nothing_went_wrong().await;

    view.agent.kill();
    view.until_it_says("#state", "no answer").await;
    let banner = view.text("#banner").await;
    assert!(banner.contains("has not answered since"), "{banner}");
    // What was seen last is still there to be read.
    assert_eq!(view.text("#total-allowed").await, "20");

    view.agent = start(view.agent.addr(), view.admin, &[]).await;
    view.until_it_says("#state", "live").await;
    view.until("no banner", "document.getElementById('banner').hidden")
        .await;
    view.until(
        "its counts",
        "document.getElementById('total-allowed').value === '0'",
    )
    .await;
    view.until(
        "a mark",
        "document.querySelectorAll('#rate-plot .restart').length === 1",
    )
    .await;
    let mut haproxy = view.haproxy().await;
    ask(&mut haproxy, 1, "default").await;
    view.until(
        "it goes on",
        "document.getElementById('total-allowed').value === '1'",
    )
    .await;
    view.until(
        "a rate",
        "Number(document.getElementById('rate-allowed').value) >= 0",
    )
    .await;
    // No point of the chart is below its axis, and none is missing a number.
    let paths = view.evaluate(
        "[...document.querySelectorAll('#rate-plot path')].map(path => path.getAttribute('d')).join(' ')",
    );
    let paths = paths.await;
    let paths = paths.as_str().unwrap();
    assert!(!paths.is_empty() && !paths.contains("NaN"), "{paths}");
    let below = view.evaluate(
        "[...document.querySelectorAll('#rate-plot path')].some(path => { \
         const box = path.getBBox(); const axis = document.querySelector('#rate-plot .grid'); \
         return box.y + box.height > Number(axis.getAttribute('y1')) + 1; })",
    );
    assert_eq!(below.await, json!(false));
    assert_eq!(view.evaluate("window.opened").await, json!("once"));
    // That it could not be reached is what the browser complained about.
    view.browser.events().await.unwrap();
    view.until(
        "another second",
        "document.getElementById('uptime').innerText !== '0 s'",
    )
    .await;
    view.nothing_went_wrong().await;
}

//! Readers: with a phone, with a keyboard, in the dark, and those who have turned away.

use serde_json::{Value, json};
use spop_testkit::browser::Browser;

use crate::view::{View, ask};

/// Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3), and elements
/// that reach beyond the window's right edge.
const CONTRAST: &str = include_str!("contrast.js");

pub(crate) async fn on_a_phone(browser: &mut Browser) {
    let mut view = View::open(browser, &[]).await;
    let mut haproxy = view.haproxy().await;
    ask(&mut haproxy, 1, "default").await;
    view.until(
        "a decision",
        "document.getElementById('total-allowed').value === '1'",
    )
    .await;
    view.browser.resize(360, 740, true).await.unwrap();
    let wide = "[...document.querySelectorAll('body *:not(.scroll *):not(.unseen):not(.skip)')] \
                .filter(element => element.getBoundingClientRect().right > 360.5) \
                .map(element => element.tagName + '#' + element.id + '.' + element.className)";
    for _ in ["as it opens", "with the table"] {
        assert_eq!(
            view.evaluate("document.documentElement.scrollWidth").await,
            json!(360)
        );
        assert_eq!(view.evaluate("innerWidth").await, json!(360));
        assert_eq!(view.evaluate(wide).await, json!([]));
        view.evaluate("document.getElementById('as-table').open = true")
            .await;
    }
    // On the narrowest, with times as long as they get.
    view.browser.resize(320, 740, true).await.unwrap();
    let times = "(() => { for (const id of ['p50', 'p90', 'p99']) document.getElementById(id).textContent = '888 µs'; \
                 return document.getElementById('p99').getBoundingClientRect().right \
                 <= document.getElementById('latency-plot').getBoundingClientRect().right; })()";
    assert_eq!(view.evaluate(times).await, json!(true));
    view.browser.resize(360, 740, true).await.unwrap();
    // A row's cells say what they are.
    let labels =
        "getComputedStyle(document.querySelector('#policies .number'), '::before').content";
    assert_eq!(view.evaluate(labels).await, json!("\"allowed/s\""));

    // A finger on a chart chooses a moment, which stays when the finger is lifted; along it, another.
    let place = "(() => { const plot = document.getElementById('rate-plot'); plot.scrollIntoView({ block: 'center' }); \
                 const box = plot.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; })()";
    let place = view.evaluate(place).await;
    let [x, y] = [0, 1].map(|axis| place[axis].as_f64().unwrap());
    let chosen = "Number(document.getElementById('cursor').ariaValueNow)";
    touch(&mut view, "touchStart", Some([x, y])).await;
    touch(&mut view, "touchEnd", None).await;
    let middle = view.evaluate(chosen).await.as_f64().unwrap();
    assert!(middle < 0.0, "{middle}");
    let watched = "document.getElementById('cursor').addEventListener('pointercancel', () => { window.cancelled = true; })";
    view.evaluate(watched).await;
    touch(&mut view, "touchStart", Some([x, y])).await;
    for step in 1..=10 {
        let moved = [x - 10.0 * f64::from(step), y];
        touch(&mut view, "touchMove", Some(moved)).await;
    }
    touch(&mut view, "touchEnd", None).await;
    let left = view.evaluate(chosen).await.as_f64().unwrap();
    assert!(left < middle - 10.0, "{left} {middle}");
    assert_eq!(view.evaluate("'cancelled' in window").await, json!(false));
    view.nothing_went_wrong().await;
}

/// One event of a finger.
async fn touch(view: &mut View<'_>, kind: &str, at: Option<[f64; 2]>) {
    let points: Vec<Value> = at.iter().map(|[x, y]| json!({ "x": x, "y": y })).collect();
    let event = json!({ "type": kind, "touchPoints": points });
    let sent = view.browser.call("Input.dispatchTouchEvent", event);
    sent.await.unwrap();
}

pub(crate) async fn by_keyboard(browser: &mut Browser) {
    let mut view = View::open(browser, &[]).await;
    let focused = "document.activeElement === document.body ? '' : document.activeElement.id || document.activeElement.dataset.range \
                   || document.activeElement.textContent";
    let mut reached = Vec::new();
    loop {
        view.browser.press("Tab").await.unwrap();
        let name = view.evaluate(focused).await.as_str().unwrap().to_owned();
        if name.trim().is_empty() || reached.contains(&name) || reached.len() > 30 {
            break;
        }
        let outline = "getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(view.evaluate(outline).await, json!("solid"), "{name}");
        reached.push(name);
    }
    let controls = [
        "To the numbers",
        "pause",
        "60",
        "180",
        "600",
        "theme",
        "cursor",
        "The same as a table",
        "/metrics",
        "/policies",
        "/top",
        "/readyz",
        "/config",
    ];
    assert_eq!(reached, controls);

    let focus = |id: &str| format!("document.querySelector({}).focus()", json!(id));
    view.evaluate(&focus("#pause")).await;
    view.browser.press("Enter").await.unwrap();
    view.until_it_says("#state", "paused").await;
    assert_eq!(
        view.evaluate("document.activeElement.ariaPressed").await,
        json!("true")
    );
    view.browser.press(" ").await.unwrap();
    view.until_it_says("#state", "live").await;

    view.evaluate(&focus("[data-range='60']")).await;
    view.browser.press("Enter").await.unwrap();
    view.until_it_says(".range-text", "last 1 min").await;

    view.evaluate(&focus("#cursor")).await;
    view.browser.press("ArrowLeft").await.unwrap();
    let cursor = "document.getElementById('cursor').ariaValueNow";
    assert_eq!(view.evaluate(cursor).await, json!("-1"));
    let moment = "document.getElementById('cursor').ariaValueText";
    let text = view.evaluate(moment).await;
    assert!(text.as_str().unwrap().contains("allowed 0/s"), "{text}");
    view.browser.press("ArrowDown").await.unwrap();
    assert_eq!(view.evaluate(cursor).await, json!("-2"));
    view.browser.press("ArrowUp").await.unwrap();
    assert_eq!(view.evaluate(cursor).await, json!("-1"));
    // A mouse that was there already takes it nowhere.
    let leaves = "document.getElementById('cursor').dispatchEvent(new PointerEvent('pointerleave', { pointerType: 'mouse' }))";
    view.evaluate(leaves).await;
    assert_eq!(view.evaluate(cursor).await, json!("-1"));
    view.browser.press("End").await.unwrap();
    assert_eq!(view.evaluate(cursor).await, json!("0"));

    view.evaluate(&focus("summary")).await;
    view.browser.press("Enter").await.unwrap();
    view.until(
        "a row",
        "document.querySelectorAll('#history tr').length > 0",
    )
    .await;

    view.evaluate(&focus(".skip")).await;
    view.browser.press("Enter").await.unwrap();
    assert_eq!(
        view.evaluate("document.activeElement.id").await,
        json!("main")
    );
    view.nothing_went_wrong().await;
}

pub(crate) async fn in_the_dark_and_in_the_light(browser: &mut Browser) {
    let mut view = View::open(browser, &[("VALKEY_NODES", "127.0.0.1:1")]).await;
    // All there can be to read: a fallback, a primary that is not there.
    let mut haproxy = view.haproxy().await;
    for _ in 0..30 {
        ask(&mut haproxy, 1, "default").await;
    }
    view.until(
        "denials",
        "Number(document.getElementById('total-denied').value) > 0",
    )
    .await;
    view.evaluate("document.getElementById('as-table').open = true")
        .await;
    let ground = "getComputedStyle(document.body).backgroundColor";
    let theme = "document.getElementById('theme')";
    let mut grounds: Vec<Value> = Vec::new();
    for scheme in ["light", "dark"] {
        let wish = [
            ("prefers-color-scheme", scheme),
            ("prefers-reduced-motion", "reduce"),
        ];
        view.browser.prefer(&wish).await.unwrap();
        grounds.push(view.evaluate(ground).await);
        assert_eq!(view.evaluate(CONTRAST).await, json!([]), "{scheme}");
    }
    let still = "getComputedStyle(document.querySelector('.bar i')).transitionDuration";
    assert_eq!(view.evaluate(still).await, json!("0s"));
    assert_ne!(grounds[0], grounds[1]);

    // By the button, against what the system wishes, and remembered.
    for (text, is) in [("dark", 1), ("light", 0)] {
        view.evaluate(&format!("{theme}.click()")).await;
        view.until_it_says("#theme", text).await;
        view.reload().await;
        view.until_it_says("#theme", text).await;
        assert_eq!(view.evaluate(ground).await, grounds[is]);
        view.until(
            "a client's denial",
            "Number(document.getElementById('total-denied').value) > 0",
        )
        .await;
        assert_eq!(view.evaluate(CONTRAST).await, json!([]), "{text}");
    }
    view.evaluate(&format!("{theme}.click()")).await;
    view.until_it_says("#theme", "auto").await;
    assert_eq!(view.evaluate(ground).await, grounds[1]);
    view.browser.prefer(&[]).await.unwrap();
    view.nothing_went_wrong().await;
}

pub(crate) async fn nobody_looks(browser: &mut Browser) {
    let mut view = View::open(browser, &[]).await;
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    view.evaluate(&hide(true)).await;
    // What was under way ends first. Then there must be nothing: a machine that is slow makes
    // this no stricter.
    let wait = "new Promise(done => setTimeout(() => done(true), 2500))";
    view.evaluate(wait).await;
    view.nothing_went_wrong().await;
    view.evaluate(wait).await;
    assert_eq!(view.browser.events().await.unwrap(), []);
    view.evaluate(&hide(false)).await;
    let asked = "performance.clearResourceTimings()";
    view.evaluate(asked).await;
    let asks = "performance.getEntriesByType('resource').length > 0";
    view.until("it asks again", asks).await;
    view.nothing_went_wrong().await;
}

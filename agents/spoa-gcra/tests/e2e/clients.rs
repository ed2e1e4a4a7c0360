//! Who a request is counted for: headers of trusted proxies, and of everybody else.

use crate::site::{SLOW, SLOW_LIMIT, Site, client, engines, limited};

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_trusted_proxy_name_the_client() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &SLOW).await;
        // Loopback is trusted by default: these two are proxies.
        let (proxy, other_proxy) = (client(2), client(3));
        let cases = [
            ("X-Forwarded-For", "198.51.100.1", "198.51.100.2"),
            // The client's own claim stands on the left of what the proxies saw.
            (
                "X-Forwarded-For",
                "203.0.113.1, 198.51.100.3, 10.0.0.1",
                "203.0.113.1, 198.51.100.4, 10.0.0.1",
            ),
            ("Forwarded", "for=198.51.100.5", "for=198.51.100.6"),
            (
                "Forwarded",
                "for=\"[2001:db8:1::1]:4711\";proto=https",
                "for=\"[2001:db8:2::1]:4711\";proto=https",
            ),
        ];
        for (header, one, other) in cases {
            for _ in 0..SLOW_LIMIT {
                let answer = site.get_with(&proxy, header, one).await;
                assert_eq!(answer.status, 200, "{header}: {one}");
            }
            // The same client through another proxy is the same client.
            for proxy in [&proxy, &other_proxy] {
                let answer = site.get_with(proxy, header, one).await;
                assert_eq!(answer.status, 429, "{header}: {one}");
            }
            let answer = site.get_with(&proxy, header, other).await;
            assert_eq!(answer.status, 200, "{header}: {other}");
        }
        // None of it was counted for the proxies.
        assert_eq!(
            site.statuses(&proxy, SLOW_LIMIT + 1).await,
            limited(SLOW_LIMIT + 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_others_are_ignored() {
    for haproxy in engines() {
        let [interval, burst] = SLOW;
        let settings = [
            interval,
            burst,
            ("SPOA_TRUSTED_PROXIES", "127.0.0.9, 10.0.0.0/8"),
        ];
        let site = Site::start(&haproxy, &settings).await;
        let client = client(2);
        let headers = ["X-Forwarded-For", "Forwarded"];
        for count in 0..SLOW_LIMIT + 3 {
            let header = headers[count % 2];
            let forged = match header {
                "Forwarded" => format!("for=198.51.100.{count}"),
                _ => format!("198.51.100.{count}, 10.0.0.1"),
            };
            let expected = if count < SLOW_LIMIT { 200 } else { 429 };
            let answer = site.get_with(&client, header, &forged).await;
            assert_eq!(answer.status, expected, "{header}: {forged}");
        }
        // The trusted one is believed.
        let answer = site
            .get_with(&crate::site::client(9), "X-Forwarded-For", "198.51.100.1")
            .await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ipv6_network_is_one_client() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &SLOW).await;
        let proxy = client(2);
        for host in 0..SLOW_LIMIT {
            let address = format!("2001:db8:0:1::{host:x}");
            let answer = site.get_with(&proxy, "X-Forwarded-For", &address).await;
            assert_eq!(answer.status, 200);
        }
        for (address, status) in [("2001:db8:0:1:ffff::1", 429), ("2001:db8:0:2::1", 200)] {
            let answer = site.get_with(&proxy, "X-Forwarded-For", address).await;
            assert_eq!(answer.status, status, "{address}");
        }
    }
}

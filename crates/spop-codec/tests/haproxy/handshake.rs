//! The HELLO frames: judgement, health checks, what may not come before.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spop_codec::{
    AgentHello, Capabilities, DecodeError, Disconnect, Flags, FrameType, HaproxyClosed,
    HaproxyConfig, HaproxyEvent, HaproxyHello, Header, NotifyError, RawFrame, Status,
};

use super::{Haproxy, START, agent_hello, config, question};

#[test]
fn judgement_on_the_agent_hello() {
    let refused = |change: fn(&mut AgentHello)| {
        let mut haproxy = Haproxy::new(config());
        let mut hello = agent_hello(4096, Capabilities::PIPELINING);
        change(&mut hello);
        hello.encode(&mut haproxy.input);
        match haproxy.event() {
            Some(HaproxyEvent::Ready(_)) => None,
            Some(HaproxyEvent::Closed(HaproxyClosed::Refused(status))) => {
                assert_eq!(haproxy.goodbye(), status);
                Some(status)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|h| h.capabilities = None), None);
    assert_eq!(refused(|h| h.version = None), Some(Status::NO_VERSION));
    assert_eq!(
        refused(|h| h.max_frame_size = None),
        Some(Status::NO_MAX_FRAME_SIZE)
    );
    assert_eq!(refused(|h| h.max_frame_size = Some(256)), None);
    assert_eq!(refused(|h| h.max_frame_size = Some(16_380)), None);
    for wrong in [
        |h: &mut AgentHello| h.max_frame_size = Some(255),
        |h: &mut AgentHello| h.max_frame_size = Some(16_381),
        |h: &mut AgentHello| h.max_frame_size = Some(u64::MAX),
    ] {
        assert_eq!(refused(wrong), Some(Status::BAD_MAX_FRAME_SIZE));
    }
}

#[test]
fn versions_are_compared_as_numbers() {
    let ours = HaproxyHello::new(16_380, "engine");
    let verdict = |version: &'static str| {
        let mut hello = agent_hello(4096, Capabilities::NONE);
        hello.version = Some(Bytes::from_static(version.as_bytes()));
        hello.check(&ours).err()
    };
    for version in ["2.0", " 2.0 ", "2.00", "02.0"] {
        assert_eq!(verdict(version), None, "{version}");
    }
    for version in ["1.0", "2.1", "2", "2.", ".0", "2.+0", "2.0,1.0", "", "two"] {
        let unsupported = Some(Status::UNSUPPORTED_VERSION);
        assert_eq!(verdict(version), unsupported, "{version}");
    }
}

#[test]
fn capabilities_in_force() {
    let ours = HaproxyHello::new(16_380, "engine");
    let in_force = |announced| {
        let mut hello = agent_hello(4096, Capabilities::NONE);
        hello.capabilities = announced;
        hello.check(&ours).unwrap().capabilities
    };
    let (pipelining, fragmentation) = (Capabilities::PIPELINING, Capabilities::FRAGMENTATION);
    assert_eq!(in_force(None), Capabilities::NONE);
    let pipelining_and_async = pipelining | Capabilities::ASYNC;
    assert_eq!(in_force(Some(pipelining_and_async)), pipelining);
    // What an agent can read is its own affair.
    assert_eq!(in_force(Some(fragmentation)), fragmentation);
}

/// A health check that has written its HELLO, and the agent's answer.
fn check(answer: impl FnOnce(&mut BytesMut)) -> Haproxy {
    let hello = HaproxyHello::health_check(16_380);
    let mut haproxy = Haproxy::new(HaproxyConfig::new(hello));
    answer(&mut haproxy.input);
    haproxy
}

#[test]
fn health_checks() {
    let good = |out: &mut BytesMut| agent_hello(4096, Capabilities::NONE).encode(out);
    let mut healthy = check(good);
    assert!(matches!(
        healthy.closed(),
        HaproxyClosed::HealthCheck(agreed) if agreed.max_frame_size == 4096
    ));
    let hello = healthy.connection.agent_hello().unwrap();
    assert_eq!(hello.max_frame_size, Some(4096));

    let mut without_capabilities = agent_hello(4096, Capabilities::NONE);
    without_capabilities.capabilities = None;
    let mut without = check(|out| without_capabilities.encode(out));
    let refused = HaproxyClosed::Refused(Status::NO_CAPABILITIES);
    assert_eq!(without.closed(), refused);

    let mut followed = check(|out| {
        good(out);
        Disconnect::new(Status::NORMAL).encode(FrameType::AGENT_DISCONNECT, out);
    });
    assert!(matches!(
        followed.closed(),
        HaproxyClosed::Violation(DecodeError::HealthCheckTrailing { bytes: 41 })
    ));

    let mut flagged = check(|out| {
        good(out);
        out.get_mut(8).map(|flags| *flags = 3).unwrap();
    });
    let flags = Flags::FIN | Flags::ABORT;
    assert_eq!(
        flagged.closed(),
        HaproxyClosed::Violation(DecodeError::HealthCheckFlags { flags })
    );

    let mut refusing = check(|out| {
        Disconnect::new(Status::RESOURCE).encode(FrameType::AGENT_DISCONNECT, out);
    });
    assert!(
        matches!(refusing.closed(), HaproxyClosed::ByPeer(bye) if bye.status == Status::RESOURCE)
    );
    for mut haproxy in [healthy, without, followed, flagged, refusing] {
        assert!(haproxy.written().is_empty(), "a check says no goodbye");
    }
}

#[test]
fn other_flags_and_frames_before_the_hello() {
    let mut haproxy = Haproxy::new(config());
    agent_hello(4096, Capabilities::NONE).encode(&mut haproxy.input);
    // Reserved flags, and ABORT.
    haproxy.input.get_mut(5).map(|flags| *flags = 0x80).unwrap();
    haproxy.input.get_mut(8).map(|flags| *flags = 3).unwrap();
    assert!(matches!(haproxy.event(), Some(HaproxyEvent::Ready(_))));

    for (frame_type, flags, status) in [
        (103, 1, Status::INVALID_FRAME),
        (1, 1, Status::INVALID_FRAME),
        (3, 1, Status::INVALID_FRAME),
        (101, 0, Status::FRAGMENTATION_NOT_SUPPORTED),
    ] {
        let mut haproxy = Haproxy::new(config());
        let header = Header {
            frame_type: FrameType(frame_type),
            flags: Flags(flags),
            stream_id: 0,
            frame_id: 0,
        };
        RawFrame::new(header, Bytes::new()).encode(&mut haproxy.input);
        assert!(matches!(haproxy.closed(), HaproxyClosed::Violation(_)));
        assert_eq!(haproxy.goodbye(), status, "{frame_type}");
    }
}

#[test]
fn not_ready_before_the_hello() {
    let mut haproxy = Haproxy::new(config());
    assert_eq!(haproxy.connection.room(), 0);
    let early = haproxy.connection.notify(START, question());
    assert_eq!(early, Err(NotifyError::NotReady));
    let due = START + Duration::from_secs(5);
    assert_eq!(haproxy.connection.poll_timeout(), Some(due));
    haproxy.now = due;
    let late = Some(HaproxyEvent::Closed(HaproxyClosed::HelloTimeout));
    assert_eq!(haproxy.timeout(), late);
    assert!(haproxy.written().is_empty(), "closed without a word");
}

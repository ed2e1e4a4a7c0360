//! What happens in any order.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use spop_codec::{AgentConfig, NotifyError, Status};

use super::{End, MILLISECOND, Pair, haproxy};

/// One step of a schedule.
#[derive(Debug, Clone)]
enum Step {
    Ask {
        size: usize,
    },
    Answer {
        which: Index,
        size: usize,
        void: bool,
    },
    AgentReads(usize),
    HaproxyReads(usize),
    Pass(Duration),
    AgentDrains,
    HaproxyLeaves(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop_oneof![1..30_usize, Just(usize::MAX)];
    prop_oneof![
        30 => (0..300_usize).prop_map(|size| Step::Ask { size }),
        30 => (any::<Index>(), 0..900_usize, any::<bool>())
            .prop_map(|(which, size, void)| Step::Answer { which, size, void }),
        40 => bytes().prop_map(Step::AgentReads),
        40 => bytes().prop_map(Step::HaproxyReads),
        15 => (0..8_u32).prop_map(|ms| Step::Pass(ms * MILLISECOND)),
        1 => Just(Step::AgentDrains),
        1 => (0..100_u32).prop_map(Step::HaproxyLeaves),
    ]
}

proptest! {
    #[test]
    fn every_notify_has_one_end(
        steps in proptest::collection::vec(step(), 0..150),
        [pipelining, fragmentation, old_ids] in any::<[bool; 3]>(),
        max_frame_size in 256..2000_u32,
        patience in 5..50_u32,
    ) {
        let mut agent = AgentConfig::new()
            .with_pipelining(pipelining)
            .with_max_frame_size(max_frame_size)
            .with_frame_timeout(patience * MILLISECOND)
            .with_idle_timeout(2 * patience * MILLISECOND);
        if fragmentation {
            agent = agent.with_fragmentation(1000);
        }
        let haproxy = haproxy().with_processing_timeout(15 * MILLISECOND);
        let mut pair = Pair::new(haproxy, agent);
        let mut undisturbed = true;
        for step in steps {
            match step {
                Step::Ask { size } => match pair.ask(size, old_ids) {
                    Ok(()) => {}
                    Err(NotifyError::Full) => prop_assert_eq!(pair.haproxy.room(), 0),
                    Err(NotifyError::NotReady) => prop_assert!(
                        pair.negotiated.is_none() || !undisturbed || pair.haproxy_end.is_some()
                    ),
                    Err(NotifyError::TooBig { length, .. }) => {
                        prop_assert!(length > max_frame_size as usize);
                    }
                    Err(error) => panic!("{error}"),
                },
                Step::Answer { which, size, void } => {
                    if !pair.tickets.is_empty() {
                        let which = which.index(pair.tickets.len());
                        pair.answer(which, size, void);
                    }
                }
                Step::AgentReads(bytes) => pair.agent_reads(bytes),
                Step::HaproxyReads(bytes) => pair.haproxy_reads(bytes),
                Step::Pass(time) => pair.pass(time),
                Step::AgentDrains => {
                    undisturbed = false;
                    pair.agent.drain();
                    pair.poll_agent();
                }
                Step::HaproxyLeaves(status) => {
                    undisturbed = false;
                    pair.haproxy.disconnect(pair.now, Status(status));
                }
            }
        }
        let lively = pair.haproxy_end.is_none() && pair.agent_end.is_none() && undisturbed;
        pair.finish();
        if lively {
            prop_assert_eq!(pair.ends(End::Void), 0, "nothing was cut off");
        }
    }
}

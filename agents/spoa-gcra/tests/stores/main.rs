//! The stores are exact: the same properties, each written once for whatever answers checks,
//! hold for the store in memory, on one Valkey server, on a cluster of three, and with a
//! denial cache before the server. And the scripts do what the algorithm says, to the
//! microsecond.
//!
//! | module | by which clock | what it shows |
//! |---|---|---|
//! | [`scripts`] | its own, which goes on and back | rooms, stored values and lifetimes are the oracle's, whatever was stored before |
//! | [`alone`] | the store's, while nothing refills | the verdicts are the oracle's; a denial and a question change nothing; `count` is one by one |
//! | [`alone`] | the store's | `retry_after` and `reset_after` are long enough, and no longer |
//! | [`together`] | the store's | of many askers at once: no window admits more than burst and rate × time, and nobody is denied without cause |
//!
//! Below the stores, the modules' own tests take the algorithm apart (`gcra`), the verdict out
//! of a shared run (`store::rooms`), batches with refused and missing answers
//! (`store::valkey::batch`), and the bounds of the store in memory (`store::memory`).
//! `tests/valkey` shows that a denial writes nothing, on disk or to a replica.
//!
//! Nothing depends on how fast the machine is: where numbers must be exact, nothing refills
//! for an hour, and where time passes it is measured around each check.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod alone;
mod checks;
mod history;
mod oracle;
mod scripts;
mod sites;
mod together;

/// A test of each property, an async function of a [`Site`](sites::Site), on every site.
macro_rules! on_every_site {
    ($($property:ident)*) => {
        on_every_site! { @memory $($property)* }
        on_every_site! { @standalone $($property)* }
        on_every_site! { @cluster $($property)* }
        on_every_site! { @cached $($property)* }
    };
    (@$site:ident $($property:ident)*) => {
        mod $site {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $property() {
                    super::$property(crate::sites::$site().await).await;
                }
            )*
        }
    };
}
use on_every_site;

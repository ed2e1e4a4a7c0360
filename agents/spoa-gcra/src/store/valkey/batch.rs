//! A batch of jobs as one pipeline: equal ones become one command, and each gets its own
//! verdict out of that command's reply.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use redis::Pipeline;

use super::job::Job;
use super::script::{Call, Form, Reply, command};

/// Jobs that are sent together, in groups of equal ones.
///
/// A check of the same client, policy and cost is no different from another one. The script
/// decides them as if one came right after the other, which is an order in which they could
/// have arrived: so a client that floods costs one run of the script a batch.
#[derive(Debug)]
pub(super) struct Batch {
    jobs: Vec<(Job, usize)>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    /// Index of its first job.
    first: usize,
    /// Requests of all of its jobs.
    count: u64,
}

impl Batch {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        let mut batch = Self {
            jobs: Vec::with_capacity(jobs.len()),
            groups: Vec::with_capacity(jobs.len()),
        };
        let hasher = DefaultHashBuilder::default();
        let mut known = HashTable::with_capacity(jobs.len());
        for job in jobs {
            let hash = |job: &Job| hasher.hash_one(job.check.client);
            let of_group = |group: &usize| {
                let group = batch.groups.get(*group)?;
                batch.jobs.get(group.first).map(|(first, _)| first)
            };
            let is_like = |group: &usize| of_group(group).is_some_and(|first| first.is_like(&job));
            let rehash = |group: &usize| of_group(group).map_or(0, hash);
            let count = u64::from(job.check.count);
            let group = match known.entry(hash(&job), is_like, rehash) {
                Entry::Occupied(group) => *group.get(),
                Entry::Vacant(place) => {
                    let group = batch.groups.len();
                    place.insert(group);
                    batch.groups.push(Group {
                        first: batch.jobs.len(),
                        count: 0,
                    });
                    group
                }
            };
            if let Some(group) = batch.groups.get_mut(group) {
                group.count = group.count.saturating_add(count);
            }
            batch.jobs.push((job, group));
        }
        batch
    }

    /// A command for each group, `ASKING` before it where that is due.
    pub(super) fn pipeline(&self, call: Call, form: Form, cap_millis: u64) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(self.groups.len());
        for group in &self.groups {
            if let Some((first, _)) = self.jobs.get(group.first) {
                if first.asking {
                    pipeline.cmd("ASKING");
                }
                pipeline.add_command(command(first, group.count, call, form, cap_millis));
            }
        }
        pipeline
    }

    /// The jobs, of which nothing is known.
    pub(super) fn into_jobs(self) -> impl Iterator<Item = Job> {
        self.jobs.into_iter().map(|(job, _)| job)
    }

    /// Each job with what the replies to [`pipeline`](Self::pipeline) mean to it: how many
    /// equal requests were decided before its own, and the reply. The node at `host` sent
    /// them.
    pub(super) fn judged(
        self,
        replies: Vec<redis::Value>,
        host: &str,
    ) -> impl Iterator<Item = (Job, u64, Reply)> {
        let mut replies = replies.into_iter();
        let mut judged = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let first = self.jobs.get(group.first);
            if first.is_some_and(|(first, _)| first.asking) {
                // ASKING's own +OK; if it failed, the reply after it says so too.
                replies.next();
            }
            let keys = first.map_or(0, |(first, _)| first.check.policy.limits().len());
            let reply = replies.next();
            let reply = reply.map_or(Reply::Malformed, |reply| Reply::read(reply, keys, host));
            judged.push((0_u64, reply));
        }
        self.jobs.into_iter().filter_map(move |(job, group)| {
            let (before, reply) = judged.get_mut(group)?;
            let decided_before = *before;
            *before = before.saturating_add(job.check.count.into());
            Some((job, decided_before, reply.clone()))
        })
    }
}

#[cfg(test)]
mod tests;

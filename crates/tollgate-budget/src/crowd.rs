//! How many calls of each key are open at once.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use crate::sync::{Mutex, MutexGuard};

/// Open calls by the key's hash. Only keys with open calls are in it, so it is as small as what
/// goes on.
#[derive(Debug)]
pub(crate) struct Crowd {
    limit: u32,
    shards: [Mutex<HashMap<u64, u32>>; SHARDS],
}

impl Crowd {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            shards: Default::default(),
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// A place for one more call, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, key: u64) -> Option<Permit> {
        let mut shard = self.shard(key);
        let open = shard.entry(key).or_default();
        if *open >= self.limit {
            return None;
        }
        *open += 1;
        drop(shard);
        Some(Permit {
            crowd: Arc::clone(self),
            key,
        })
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, u32>> {
        let at = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let shard = self.shards[at].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the open calls, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    crowd: Arc<Crowd>,
    key: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut shard = self.crowd.shard(self.key);
        if let Some(open) = shard.get_mut(&self.key) {
            *open -= 1;
            if *open == 0 {
                shard.remove(&self.key);
            }
        }
    }
}

const SHARDS: usize = 16;

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_call_ends() {
        let crowd = Arc::new(Crowd::new(2));
        let first = crowd.enter(5);
        assert!(first.is_some());
        let second = crowd.enter(5);
        assert!(crowd.enter(5).is_none());
        assert!(crowd.enter(21).is_some(), "another key in the same shard");
        drop(first);
        assert!(crowd.enter(5).is_some());
        drop(second);
        assert!(crowd.shard(5).is_empty());
    }
}

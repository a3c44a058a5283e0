//! A map that cannot outgrow its bound, for what callers can make us remember. It may not scan on a request: when the
//! young generation is full it becomes the old one, and the old one is dropped whole.

use core::hash::Hash;

use hashbrown::HashMap;

/// At most `2 × generation` entries; an entry that is touched survives at least the next `generation` insertions.
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    generation: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> BoundedMap<K, V> {
    /// An empty map of generations with `generation` entries each.
    pub fn new(generation: usize) -> Self {
        Self { generation, young: HashMap::new(), old: HashMap::new() }
    }

    /// The value of `key`, if it is remembered.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The value of `key`, if it is remembered; what is used this way outlives what is only kept.
    pub fn touch(&mut self, key: &K) -> Option<&V>
    where
        K: Clone,
    {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(key.clone(), value);
        }
        self.young.get(key)
    }

    /// Remembers `value` for `key`.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// The values that are held, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.old
            .iter()
            .filter(|(key, _)| !self.young.contains_key(*key))
            .map(|(_, value)| value)
            .chain(self.young.values())
    }

    /// How many entries are held.
    pub fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_outgrows_its_bound_and_keeps_the_recent() {
        let mut map = BoundedMap::new(100);
        for key in 0..10_000u32 {
            map.insert(key, key);
            assert!(map.len() <= 200);
            assert_eq!(map.get(&key), Some(&key));
            if key >= 100 {
                assert_eq!(map.get(&(key - 100)), Some(&(key - 100)));
            }
        }
        assert_eq!(map.get(&0), None);
    }

    #[test]
    fn what_is_used_outlives_what_is_only_kept() {
        let mut map = BoundedMap::new(100);
        for key in 0..10_000u32 {
            map.insert(key, key);
            assert_eq!(map.touch(&0), Some(&0));
            assert!(map.len() <= 200);
        }
        assert_eq!(map.get(&1), None);
        assert_eq!(map.touch(&1), None);
    }
}

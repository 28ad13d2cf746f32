//! Changes of topics other than by registration.

use timbermq_remoting::body::QueueData;
use timbermq_types::{PERM_READ, PERM_WRITE, TopicName};

use crate::register::RegisterError;
use crate::table::RouteTable;

impl RouteTable {
    /// Takes the write permission of every topic of a broker group away, also at the entrances to it, until
    /// [`RouteTable::add_write_perm`] or until its leader registers changed topics; says how many topics the group has.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_queues(broker_name, |queue| queue.perm &= !(PERM_WRITE as i32))
    }

    /// Gives every topic of a broker group read and write permission, at the entrances to it the latter; says how many
    /// topics the group has.
    pub fn add_write_perm(&mut self, broker_name: &str) -> usize {
        self.change_queues(broker_name, |queue| {
            let is_entrance = queue.read_queue_nums == 0;
            queue.perm |= if is_entrance { PERM_WRITE } else { PERM_READ | PERM_WRITE } as i32;
        })
    }

    /// Forgets a topic, in one cluster or everywhere. A broker that still has it brings it back when it registers a
    /// change.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.topics.get_mut(topic) else { return };
        let groups = &self.groups;
        queues.retain(|name, _| {
            cluster.is_some_and(|cluster| groups.get(name).is_some_and(|group| group.cluster != cluster))
        });
        if queues.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Enters a topic's queues as an administrator gives them; those of unknown broker groups are left out.
    ///
    /// # Errors
    /// The name is not one a topic may have, or the table is full.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) -> Result<(), RegisterError> {
        TopicName::new(topic).map_err(|_| RegisterError::Malformed("topic"))?;
        let queues: Vec<_> = queues.into_iter().filter(|queue| self.groups.contains_key(&queue.broker_name)).collect();
        if queues.is_empty() {
            return Ok(());
        }
        if !self.topics.contains_key(topic) && self.topics.len() >= self.limits.topics_max {
            return Err(RegisterError::Full { what: "topics", max: self.limits.topics_max });
        }
        let entry = self.topics.entry(topic.to_owned()).or_default();
        entry.extend(queues.into_iter().map(|queue| (queue.broker_name.clone(), queue)));
        Ok(())
    }

    fn change_queues(&mut self, broker_name: &str, mut change: impl FnMut(&mut QueueData)) -> usize {
        let entrances = self.groups.iter().filter(|(_, group)| group.entrance_of.as_deref() == Some(broker_name));
        let entrances: Vec<&String> = entrances.map(|(name, _)| name).collect();
        let mut count = 0;
        for queues in self.topics.values_mut() {
            for name in &entrances {
                queues.get_mut(*name).into_iter().for_each(&mut change);
            }
            count += queues.get_mut(broker_name).map(&mut change).into_iter().count();
        }
        count
    }
}

//! The application's state of each connection, by slot.

use corelane_proto::endpoint::ConnId;

/// One connection's state.
pub(crate) struct Entry<S> {
    pub(crate) id: ConnId,
    pub(crate) state: S,
}

/// A slot for each connection, allocated at start.
pub(crate) struct States<S> {
    slots: Vec<Option<Entry<S>>>,
    len: usize,
}

impl<S> States<S> {
    pub(crate) fn new(connections: usize) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(connections).collect(), len: 0 }
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Puts the state of connection `id` into its slot.
    pub(crate) fn insert(&mut self, id: ConnId, state: S) {
        // The endpoint has no more connections than there are slots, and gives a slot to another one only after it has
        // told the end of the first.
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        debug_assert!(slot.is_none(), "{id:?} came into a slot that is taken");
        self.len += usize::from(slot.replace(Entry { id, state }).is_none());
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Entry<S>> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|entry| entry.id == id)
    }

    /// Takes the state of connection `id` out.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<S> {
        let entry = self.slots.get_mut(id.slot())?.take_if(|entry| entry.id == id)?;
        self.len -= 1;
        Some(entry.state)
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The connection in a slot, if it has a state.
    pub(crate) fn id_at(&self, slot: usize) -> Option<ConnId> {
        self.slots.get(slot)?.as_ref().map(|entry| entry.id)
    }

    /// The id of every connection with a state.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.slots.iter().flatten().map(|entry| entry.id)
    }
}

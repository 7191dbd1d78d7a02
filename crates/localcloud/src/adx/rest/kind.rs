//! What kind of a service a cluster is: they differ in how they are ingested into, and in who may ask.

/// A kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Azure Data Explorer, with queues for messages.
    #[default]
    Cluster,
    /// A Fabric Eventhouse that is ingested into over REST alone, from containers. What else it does otherwise goes by its name,
    /// which this one has not.
    Fabric,
    /// The same, with folders of a lake in place of the containers.
    Lake,
    /// The emulator: an engine without data management, and without tokens (dataexplorer-docs `kusto-emulator-overview.md`).
    Emulator,
}

impl Kind {
    /// Whether it lends queues by `.get ingestion resources`.
    pub(super) fn has_queues(self) -> bool {
        self == Self::Cluster
    }

    pub(super) fn is_fabric(self) -> bool {
        matches!(self, Self::Fabric | Self::Lake)
    }
}

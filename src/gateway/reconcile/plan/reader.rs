//! How well Blip can be read. Each way in which reading fails is recognised, and none of them says anything of a ticket.

use tokio::time::Instant;

/// Tickets that are said not to exist, and none that does, from which on nothing is believed to be found at all.
const NOT_FOUND_MIN: usize = 5;
/// The same of fewer tickets, in so many rounds running.
const IN_VAIN_MIN: u32 = 3;
/// The same while the list of living tickets is empty too: no more are asked for.
const NOT_FOUND_MAX: usize = 20;

/// What is wrong with reading from Blip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReaderFault {
    /// Blip does not take the key.
    KeyRefused,
    /// Tickets cannot be listed with this key: it is a router's, or that of a bot without a desk.
    NoDesk,
    /// The list of living tickets is refused.
    ListRefused,
    /// Every ticket is said not to exist.
    NothingFound,
    /// The list of living tickets is empty, and tickets live.
    EmptyList,
    /// Lists leave tickets out.
    ShortList,
    /// Ended tickets cannot be listed.
    NoClosedList,
}

impl ReaderFault {
    const ALL: [Self; 7] = [
        Self::KeyRefused,
        Self::NoDesk,
        Self::ListRefused,
        Self::NothingFound,
        Self::EmptyList,
        Self::ShortList,
        Self::NoClosedList,
    ];

    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyRefused => "key_refused",
            Self::NoDesk => "no_desk",
            Self::ListRefused => "list_refused",
            Self::NothingFound => "nothing_found",
            Self::EmptyList => "empty_list",
            Self::ShortList => "short_list",
            Self::NoClosedList => "no_closed_list",
        }
    }
}

/// What was seen of reading.
#[derive(Debug, Default)]
pub(super) struct Reader {
    fault: Option<ReaderFault>,
    /// In this round: tickets that were read, conversations that were, and tickets that are said not to exist.
    found: usize,
    heard: usize,
    not_found: usize,
    /// One of these was made lately.
    of_late: bool,
    /// Rounds running in which none of those was found, and nothing else.
    in_vain: u32,
    /// When something was given last that was asked for by its id.
    saw_at: Option<Instant>,
    /// Lists are read until nothing is left, as a page that is not full has not been the last.
    pub(super) patient: bool,
}

impl Reader {
    pub(super) fn now(&self) -> Option<ReaderFault> {
        self.fault
    }

    pub(super) fn fault(&mut self, fault: ReaderFault) {
        self.fault = Some(fault);
    }

    /// Blip took the key.
    pub(super) fn answered(&mut self) {
        if self.fault == Some(ReaderFault::KeyRefused) {
            self.fault = None;
        }
    }

    /// Whether Blip has shown a ticket since then.
    pub(super) fn has_seen_since(&self, at: Instant) -> bool {
        self.saw_at.is_some_and(|saw_at| saw_at >= at)
    }

    /// A ticket was read.
    pub(super) fn found(&mut self, at: Instant) {
        self.saw_at = Some(at);
        self.found = self.found.saturating_add(1);
    }

    /// A conversation was read.
    pub(super) fn heard(&mut self, at: Instant) {
        self.saw_at = Some(at);
        self.heard = self.heard.saturating_add(1);
    }

    /// A ticket is said not to exist: some do not any more. Whether so many are, and none that exists, that it is no use
    /// to ask for more; `listed` is how many Blip lists. One made `of_late` would exist.
    pub(super) fn not_found(&mut self, listed: usize, of_late: bool) -> bool {
        self.of_late |= of_late;
        self.not_found = self.not_found.saturating_add(1);
        listed == 0 && self.found == 0 && self.not_found >= NOT_FOUND_MAX
    }

    /// A page of living tickets was read.
    pub(super) fn listed(&mut self) {
        if matches!(self.fault, Some(ReaderFault::NoDesk | ReaderFault::ListRefused)) {
            self.fault = None;
        }
    }

    /// A round ended: what its lists were like, and whether they were right. Whether what it saw can be believed.
    pub(super) fn round_ended(&mut self, listed: usize, left_out: usize, complete: bool) -> bool {
        // Where others are listed and read, those that are not found may be gone indeed.
        let none = self.found == 0 && (listed == 0 || self.heard == 0);
        let lately = none && self.of_late;
        self.in_vain = if lately { self.in_vain.saturating_add(1) } else { 0 };
        let nothing = none && (self.not_found >= NOT_FOUND_MIN || self.in_vain >= IN_VAIN_MIN);
        self.of_late = false;
        (self.found, self.heard, self.not_found) = (0, 0, 0);
        if nothing {
            self.fault = Some(ReaderFault::NothingFound);
            return false;
        }
        if lately {
            return false;
        }
        if complete && self.fault == Some(ReaderFault::NothingFound) {
            self.fault = None;
        }
        // Some tickets pass by a list while its pages are turned.
        let too_many = left_out > 3 && left_out.saturating_mul(20) > listed;
        let lists = match (listed, left_out) {
            (0, 1..) => Some(ReaderFault::EmptyList),
            _ if too_many => Some(ReaderFault::ShortList),
            _ => None,
        };
        if lists.is_some() {
            self.patient = true;
            self.fault = lists;
        } else if complete
            && matches!(
                self.fault,
                Some(ReaderFault::EmptyList | ReaderFault::ShortList | ReaderFault::NoClosedList)
            )
        {
            self.fault = None;
        }
        true
    }
}

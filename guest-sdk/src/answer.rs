//! What events are answered with.

use crate::{Action, Message, Payload};

/// Yes to an open request.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// # #[derive(Serialize, Deserialize, Debug, PartialEq)] struct Seat { room: String }
/// let accept = Accept::named("ann")
///     .state(Seat { room: "lobby".into() })
///     .join("lobby")
///     .linger_ms(30_000)
///     .first(json!({"welcome": "ann"}))
///     .reply(json!({"room": "lobby"}))
///     .then(send_group("lobby", json!({"joined": "ann"})).except("ann"));
/// # assert_eq!(accept.groups, ["lobby"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Accept<S> {
    /// The mailbox's name. None: the earlier plugin's choice, or the fresh one.
    pub mailbox: Option<String>,
    /// If the name is taken: close that mailbox and open this one (true), or
    /// refuse with 409 (false, the default).
    pub replace: bool,
    /// Whether later opens of the same name and identity join this mailbox, see
    /// [`shared`](Self::shared).
    pub shared: bool,
    /// Who the client is. None: the earlier plugin's choice stands.
    pub identity: Option<String>,
    /// What this plugin wants to find in the [`Session`](crate::Session) of
    /// later events.
    pub state: Option<S>,
    /// The groups that the mailbox is a member of.
    pub groups: Vec<String>,
    /// How long the mailbox lives without a connection, in milliseconds. None:
    /// what the configuration says.
    pub linger_ms: Option<u64>,
    /// Limits of this mailbox.
    pub limits: MailboxLimits,
    /// Messages that wait in the new mailbox, in front of all others.
    pub first: Vec<Message>,
    /// Told to the client along with name and key.
    pub reply: Option<Payload>,
    /// Done once the mailbox is open and in its groups.
    pub actions: Vec<Action>,
}

/// A fresh name, no groups, no state, the configuration's limits.
impl<S> Default for Accept<S> {
    fn default() -> Self {
        Self {
            mailbox: None,
            replace: false,
            shared: false,
            identity: None,
            state: None,
            groups: Vec::new(),
            linger_ms: None,
            limits: MailboxLimits::default(),
            first: Vec::new(),
            reply: None,
            actions: Vec::new(),
        }
    }
}

impl<S> Accept<S> {
    /// Accepts under a name that is free and cannot be guessed, or that an
    /// earlier plugin of the chain chose.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts under this name. If it is taken the client gets a 409, unless
    /// [`replace`](Self::replace) says otherwise.
    pub fn named(mailbox: impl Into<String>) -> Self {
        Self { mailbox: Some(mailbox.into()), ..Self::default() }
    }

    /// Closes the mailbox that has the name now, if one has.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Lets all devices of one user read this mailbox, each with a key and a
    /// cursor of its own: a seat. A later open joins if it has the same name and
    /// identity and is shared as well, whatever [`replace`](Self::replace) says.
    /// It starts at the oldest message that somebody has not confirmed; its
    /// groups are joined and its actions done, but its state, linger time,
    /// limits and first messages are left out. `cx.mailbox(name)` tells whether
    /// there is a mailbox to join.
    ///
    /// Some plugin of the chain must say who the client is
    /// ([`identity`](Self::identity)); without that the open fails.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # fn on_open(open: &Open) -> Result<Accept<()>> {
    /// let Some(user) = &open.identity else { return Err(reject(401, "who are you?")) };
    /// Ok(Accept::named(user).shared())
    /// # }
    /// # assert!(on_open(&Open::test(json!({})).with_identity("ann")).unwrap().shared);
    /// ```
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Says who the client is: to later plugins of the chain, and in the
    /// session of later events.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Stores the plugin's state for the mailbox.
    pub fn state(mut self, state: S) -> Self {
        self.state = Some(state);
        self
    }

    /// Makes the mailbox a member of a group.
    pub fn join(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Sets how long the mailbox lives without a connection.
    pub fn linger_ms(mut self, linger_ms: u64) -> Self {
        self.linger_ms = Some(linger_ms);
        self
    }

    /// Hands out at most so many messages in any second, 1 to 1000.
    pub fn per_second(mut self, messages: u32) -> Self {
        self.limits.per_second = Some(messages);
        self
    }

    /// Sets the limits of the mailbox.
    pub fn limits(mut self, limits: MailboxLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a message that waits in the new mailbox, in front of all others.
    pub fn first(mut self, message: impl Into<Message>) -> Self {
        self.first.push(message.into());
        self
    }

    /// Sets what the client is told along with name and key.
    pub fn reply(mut self, reply: impl Into<Payload>) -> Self {
        self.reply = Some(reply.into());
        self
    }

    /// Adds an action, done once the mailbox is open and in its groups.
    pub fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}

/// Limits of one mailbox. None: what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Waiting and unconfirmed messages.
    pub messages: Option<u32>,
    /// Waiting and unconfirmed payload bytes.
    pub bytes: Option<u32>,
    /// What happens when one of these is reached.
    pub full: Option<Full>,
    /// At most so many messages are handed out in any second, 1 to 1000; what
    /// waits meanwhile can collapse. First messages do not count.
    pub per_second: Option<u32>,
}

/// What happens to a message for a mailbox that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The oldest waiting message goes; the reader is told how many it lost.
    DropOldest,
    /// The new message is refused; the publisher is told.
    Reject,
}

/// Answer to a client's message.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// Outcome::default();                                     // nothing to do, nothing to say
/// Outcome::from(send("bob", json!("hi")));                // do this
/// Outcome::from([join("ann", "hall"), leave("ann", "lobby")]);
/// Outcome::reply(json!({"members": ["ann"]}));            // say that
/// Outcome::reply(json!("done")).then(send("bob", json!("hi")));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What is to be done.
    pub actions: Vec<Action>,
    /// The answer to the client. The last plugin of the chain that gives one
    /// decides.
    pub reply: Option<Payload>,
}

impl Outcome {
    /// Answers the client.
    pub fn reply(reply: impl Into<Payload>) -> Self {
        Self { actions: Vec::new(), reply: Some(reply.into()) }
    }

    /// Adds an action.
    pub fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}

impl From<Action> for Outcome {
    fn from(action: Action) -> Self {
        Self::from(vec![action])
    }
}

impl From<Vec<Action>> for Outcome {
    fn from(actions: Vec<Action>) -> Self {
        Self { actions, reply: None }
    }
}

impl<const N: usize> From<[Action; N]> for Outcome {
    fn from(actions: [Action; N]) -> Self {
        Self::from(Vec::from(actions))
    }
}

/// Answer to a backend's message.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// PublishOutcome::deliver();                              // as it was addressed
/// PublishOutcome::keep();                                 // not at all
/// PublishOutcome::keep().then(send("ann", json!("hi")));  // but this
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PublishOutcome {
    /// Whether the message is delivered as it was addressed. Every plugin of
    /// the chain must agree.
    pub deliver: bool,
    /// Done after that delivery.
    pub actions: Vec<Action>,
}

impl PublishOutcome {
    /// The message is delivered as it was addressed.
    pub fn deliver() -> Self {
        Self { deliver: true, actions: Vec::new() }
    }

    /// The message is not delivered as it was addressed.
    pub fn keep() -> Self {
        Self { deliver: false, actions: Vec::new() }
    }

    /// Adds an action.
    pub fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}

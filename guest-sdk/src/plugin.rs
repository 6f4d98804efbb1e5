//! The trait that a plugin implements.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Accept, Action, Address, CloseCause, Context, Events, Message, Open, Outcome, Payload,
    PublishOutcome, Result, Session, reject,
};

/// A plugin: one method per event, each with a default, so that a plugin has
/// only the ones it cares about.
///
/// There is no `&mut self`: memory may vanish between any two calls, so
/// nothing that matters may live in it. `self` is the settings, and what was
/// made of them once.
pub trait Plugin: Sized + 'static {
    /// The plugin's settings in the configuration, `()` if it takes none. Let
    /// serde do the defaults, and refuse what is misspelt:
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// #[derive(Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Settings {
    ///     #[serde(default = "twenty")]
    ///     history: usize,
    /// }
    ///
    /// fn twenty() -> usize {
    ///     20
    /// }
    /// ```
    type Settings: DeserializeOwned + 'static;

    /// What the plugin stores with a mailbox, `()` if nothing.
    ///
    /// It is written with the names of its fields, and outlives the version of
    /// the plugin that wrote it. A version that adds a field marked
    /// `#[serde(default)]`, or leaves one out, reads what the one before wrote.
    /// After any other change [`migrate`](Self::migrate) is called.
    type State: Serialize + DeserializeOwned + 'static;

    /// Which events the plugin wants beside load and open. By default all;
    /// leaving out what it has no method for saves the gateway the call.
    const EVENTS: Events = Events::ALL;

    /// Makes the plugin from its settings, or says what is wrong with them.
    /// Called for every instance; there are several and they come and go, so
    /// this should be cheap.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # #[derive(Deserialize)] struct Settings { history: usize }
    /// struct Chat {
    ///     settings: Settings,
    /// }
    ///
    /// impl Plugin for Chat {
    ///     type Settings = Settings;
    ///     type State = ();
    ///
    ///     fn new(settings: Settings) -> Result<Self, String> {
    ///         if settings.history > 1000 {
    ///             return Err(format!("history = {} is more than 1000", settings.history));
    ///         }
    ///         Ok(Chat { settings })
    ///     }
    /// }
    ///
    /// assert!(cometbox_guest::test::plugin::<Chat>(json!({"history": 20})).is_ok());
    /// assert!(cometbox_guest::test::plugin::<Chat>(json!({"history": 2000})).is_err());
    /// ```
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Once for every version, before it serves; `reload` says whether it takes
    /// over from another one. If this fails, the version before goes on
    /// serving.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Ticker;
    /// # impl Plugin for Ticker {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Ticker) }
    /// fn on_load(&self, _: &Context, _reload: bool) -> Result<Vec<Action>> {
    ///     Ok(vec![set_timer("tick", 1_000)])
    /// }
    /// # }
    /// # assert!(Ticker.on_load(&Context::test(), false).is_ok());
    /// ```
    fn on_load(&self, cx: &Context, reload: bool) -> Result<Vec<Action>> {
        let _ = (cx, reload);
        Ok(Vec::new())
    }

    /// A client asks for a mailbox. By default it gets one, under a name that
    /// cannot be guessed.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Chat;
    /// # impl Plugin for Chat {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Chat) }
    /// fn on_open(&self, _: &Context, open: &Open) -> Result<Accept<()>> {
    ///     #[derive(Deserialize)]
    ///     struct Hello {
    ///         nick: String,
    ///     }
    ///     let Hello { nick } = open.json()?;
    ///     if nick.is_empty() {
    ///         return Err(reject(400, "a nick has at least one character"));
    ///     }
    ///     Ok(Accept::named(nick).join("lobby"))
    /// }
    /// # }
    /// # assert_eq!(
    /// #     Chat.on_open(&Context::test(), &Open::test(json!({"nick": "ann"}))),
    /// #     Ok(Accept::named("ann").join("lobby")),
    /// # );
    /// ```
    fn on_open(&self, cx: &Context, open: &Open) -> Result<Accept<Self::State>> {
        let _ = (cx, open);
        Ok(Accept::new())
    }

    /// A client sent a message through its mailbox. By default nothing happens.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Chat;
    /// # impl Plugin for Chat {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Chat) }
    /// fn on_message(&self, _: &Context, from: &Session<()>, data: Payload) -> Result<Outcome> {
    ///     Ok(send_group("lobby", data).except(&from.mailbox).into())
    /// }
    /// # }
    /// # let (ann, data) = (Session::test("ann", ()), json!({"say": "hi"}));
    /// # assert_eq!(
    /// #     Chat.on_message(&Context::test(), &ann, data.clone().into()).unwrap().actions,
    /// #     [send_group("lobby", data).except("ann")],
    /// # );
    /// ```
    fn on_message(
        &self,
        cx: &Context,
        from: &Session<Self::State>,
        data: Payload,
    ) -> Result<Outcome> {
        let _ = (cx, from, data);
        Ok(Outcome::default())
    }

    /// A client sent a message to a channel: Bayeux clients publish so, and
    /// others can say `?channel=`. A channel is the name of a group; what
    /// becomes of the message is up to the plugin all the same. By default the
    /// channel is ignored, and it is [`on_message`](Self::on_message).
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Open;
    /// # impl Plugin for Open {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Open) }
    /// fn on_channel_message(
    ///     &self,
    ///     _: &Context,
    ///     _: &Session<()>,
    ///     channel: &str,
    ///     data: Payload,
    /// ) -> Result<Outcome> {
    ///     Ok(send_group(channel, data).into())
    /// }
    /// # }
    /// # let (ann, data) = (Session::test("ann", ()), json!({"say": "hi"}));
    /// # assert_eq!(
    /// #     Open.on_channel_message(&Context::test(), &ann, "lobby", data.clone().into()),
    /// #     Ok(send_group("lobby", data).into()),
    /// # );
    /// ```
    fn on_channel_message(
        &self,
        cx: &Context,
        from: &Session<Self::State>,
        channel: &str,
        data: Payload,
    ) -> Result<Outcome> {
        let _ = channel;
        self.on_message(cx, from, data)
    }

    /// A client wants to be a member of these groups, any of which may be a
    /// pattern (`chat/*`, `chat/**`). It joins all of them, and then the actions
    /// are done; a refusal by any plugin of the chain that wants the event keeps
    /// it out of all. By default it is refused: who is where is the plugin's to
    /// say. A client leaves groups as it likes.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct News;
    /// # impl Plugin for News {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(News) }
    /// fn on_subscribe(&self, _: &Context, _: &Session<()>, groups: &[String]) -> Result<Vec<Action>> {
    ///     if groups.iter().all(|group| group.starts_with("news/")) {
    ///         return Ok(Vec::new());
    ///     }
    ///     Err(reject(403, "there is nothing but news"))
    /// }
    /// # }
    /// # let ann = Session::test("ann", ());
    /// # assert!(News.on_subscribe(&Context::test(), &ann, &["news/**".into()]).is_ok());
    /// # assert!(News.on_subscribe(&Context::test(), &ann, &["**".into()]).is_err());
    /// ```
    fn on_subscribe(
        &self,
        cx: &Context,
        who: &Session<Self::State>,
        groups: &[String],
    ) -> Result<Vec<Action>> {
        let _ = (cx, who, groups);
        Err(reject(403, "clients choose no groups here"))
    }

    /// A backend published a message. By default it is delivered as addressed.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Quotes;
    /// # impl Plugin for Quotes {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Quotes) }
    /// fn on_publish(&self, _: &Context, to: Address, message: Message) -> Result<PublishOutcome> {
    ///     if !to.is_empty() {
    ///         return Ok(PublishOutcome::deliver());
    ///     }
    ///     Ok(PublishOutcome::keep().then(send_group("everybody", message)))
    /// }
    /// # }
    /// # let sent = Quotes.on_publish(&Context::test(), Address::default(), json!(1).into()).unwrap();
    /// # assert_eq!(sent.actions, [send_group("everybody", json!(1))]);
    /// ```
    fn on_publish(&self, cx: &Context, to: Address, message: Message) -> Result<PublishOutcome> {
        let _ = (cx, to, message);
        Ok(PublishOutcome::deliver())
    }

    /// A mailbox has a reader, after it had none (or never had one).
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Idle;
    /// # impl Plugin for Idle {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Idle) }
    /// fn on_attached(&self, _: &Context, who: &Session<()>) -> Result<Vec<Action>> {
    ///     Ok(vec![send_group("lobby", json!({"back": who.mailbox})).except(&who.mailbox)])
    /// }
    /// # }
    /// # assert!(Idle.on_attached(&Context::test(), &Session::test("ann", ())).is_ok());
    /// ```
    fn on_attached(&self, cx: &Context, session: &Session<Self::State>) -> Result<Vec<Action>> {
        let _ = (cx, session);
        Ok(Vec::new())
    }

    /// A mailbox has had no reader for longer than the gap between two
    /// long-polls. It still lives, and may get one again: whether somebody is
    /// *there* is better told by open and closed.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Idle;
    /// # impl Plugin for Idle {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Idle) }
    /// fn on_detached(&self, _: &Context, who: &Session<()>) -> Result<Vec<Action>> {
    ///     Ok(vec![send_group("lobby", json!({"away": who.mailbox}))])
    /// }
    /// # }
    /// # assert!(Idle.on_detached(&Context::test(), &Session::test("ann", ())).is_ok());
    /// ```
    fn on_detached(&self, cx: &Context, session: &Session<Self::State>) -> Result<Vec<Action>> {
        let _ = (cx, session);
        Ok(Vec::new())
    }

    /// A mailbox is gone. Its groups have lost it already.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Chat;
    /// # impl Plugin for Chat {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Chat) }
    /// fn on_closed(&self, _: &Context, who: &Session<()>, _: CloseCause) -> Result<Vec<Action>> {
    ///     Ok(vec![send_group("lobby", json!({"left": who.mailbox}))])
    /// }
    /// # }
    /// # assert_eq!(
    /// #     Chat.on_closed(&Context::test(), &Session::test("ann", ()), CloseCause::Expired),
    /// #     Ok(vec![send_group("lobby", json!({"left": "ann"}))]),
    /// # );
    /// ```
    fn on_closed(
        &self,
        cx: &Context,
        session: &Session<Self::State>,
        cause: CloseCause,
    ) -> Result<Vec<Action>> {
        let _ = (cx, session, cause);
        Ok(Vec::new())
    }

    /// A timer rings: one of a mailbox (`session`), or one of the app (none).
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # struct Ticker;
    /// # impl Plugin for Ticker {
    /// #     type Settings = ();
    /// #     type State = ();
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Ticker) }
    /// fn on_timer(&self, cx: &Context, name: &str, _: Option<&Session<()>>) -> Result<Vec<Action>> {
    ///     let tick = json!({"time": cx.now_ms});
    ///     Ok(vec![send_group("watchers", tick), set_timer(name, 1_000)])
    /// }
    /// # }
    /// # assert_eq!(Ticker.on_timer(&Context::test(), "tick", None).map(|a| a.len()), Ok(2));
    /// ```
    fn on_timer(
        &self,
        cx: &Context,
        name: &str,
        session: Option<&Session<Self::State>>,
    ) -> Result<Vec<Action>> {
        let _ = (cx, name, session);
        Ok(Vec::new())
    }

    /// Turns a session state that an older version stored, and that does not
    /// read as [`State`](Self::State) any more, into one that does. None: the
    /// mailbox goes on without a state.
    ///
    /// ```
    /// # use cometbox_guest::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Seat { rooms: Vec<String> }
    /// # struct Chat;
    /// # impl Plugin for Chat {
    /// #     type Settings = ();
    /// #     type State = Seat;
    /// #     fn new(_: ()) -> Result<Self, String> { Ok(Chat) }
    /// fn migrate(&self, _mailbox: &str, old: &[u8]) -> Result<Option<Seat>, String> {
    ///     #[derive(Deserialize)]
    ///     struct OldSeat {
    ///         room: String,
    ///     }
    ///     let OldSeat { room } = read_state(old)?;
    ///     Ok(Some(Seat { rooms: vec![room] }))
    /// }
    /// # }
    /// ```
    fn migrate(&self, mailbox: &str, old: &[u8]) -> Result<Option<Self::State>, String> {
        let _ = old;
        Err(format!(
            "mailbox {mailbox:?} has a state of an older version, which this one cannot read: \
             give new fields #[serde(default)], or implement Plugin::migrate"
        ))
    }
}

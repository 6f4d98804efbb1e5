//! What lasts as bytes: a blob per thing, MessagePack with a checksum behind it.
//! Times are those of the calendar, for the monotonic clock starts anew.

use crate::core::{
    CloseCause, FullPolicy, KeptEpitaph, KeptGroup, KeptMailbox, KeptPublish, KeptSeat, Key, Kind,
    MailboxLimits, Marks, Message, Millis, Name, Payload, PluginName, PluginTimer, PublishId, Run,
    SendReport, Sent, Uid,
};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

/// Bytes of the checksum behind a blob.
const SUM_BYTES: usize = 4;

/// Why a blob is not what was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("{0}")]
    Form(String),
}

/// A moment by both clocks of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    pub mono: Millis,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// What the clocks have to do with each other for as long as the process runs:
/// a calendar that is set meanwhile moves no deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calendar {
    /// Milliseconds since 1970 when the monotonic clock was at 0.
    pub unix_ms_at_0: u64,
}

impl Calendar {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix(self, at: Millis) -> u64 {
        self.unix_ms_at_0.saturating_add(at)
    }

    /// On the monotonic clock; 0 for what lies before the start.
    #[must_use]
    pub fn mono(self, unix_ms: u64) -> Millis {
        if unix_ms == u64::MAX { Millis::MAX } else { unix_ms.saturating_sub(self.unix_ms_at_0) }
    }
}

#[derive(Serialize)]
struct MailboxOut<'a> {
    name: &'a str,
    identity: Option<&'a str>,
    shared: bool,
    limits: LimitsRow,
    linger_ms: u64,
    attached: bool,
    groups: Vec<(&'a str, bool)>,
    states: Vec<(&'a str, &'a Bytes)>,
    timers: Vec<(&'a str, &'a str, u64)>,
}

#[derive(Deserialize)]
struct MailboxIn {
    name: String,
    identity: Option<String>,
    shared: bool,
    limits: LimitsRow,
    linger_ms: u64,
    attached: bool,
    groups: Vec<(String, bool)>,
    states: Vec<(String, ByteBuf)>,
    timers: Vec<(String, String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct LimitsRow {
    messages: u32,
    bytes: u32,
    rejects: bool,
    per_second: u16,
}

#[derive(Serialize)]
struct SentOut<'a> {
    kind: u8,
    payload: &'a Bytes,
    ttl_ms: Option<u64>,
    collapse: Option<&'a str>,
    channel: Option<&'a str>,
    to: Vec<(u64, u64)>,
}

#[derive(Deserialize)]
struct SentIn {
    kind: u8,
    payload: ByteBuf,
    ttl_ms: Option<u64>,
    collapse: Option<String>,
    channel: Option<String>,
    to: Vec<(u64, u64)>,
}

/// Each seat's key with what it has confirmed and was handed, the last seq, and
/// the runs of what was lost.
type MarksRow<K> = (Vec<(K, u64, u64)>, u64, Vec<(u64, u64, u64)>);

/// Name, key, cause, reason.
type EpitaphRow = (String, ByteBuf, String, String);

/// Id, queued, dropped, missing, full.
type PublishedRow<T> = (T, usize, usize, Vec<T>, Vec<T>);

pub(super) fn encode_mailbox(kept: &KeptMailbox, calendar: Calendar, out: &mut Vec<u8>) {
    let limits = LimitsRow {
        messages: kept.limits.messages,
        bytes: kept.limits.bytes,
        rejects: kept.limits.full == FullPolicy::Reject,
        per_second: kept.limits.per_second,
    };
    let states = kept.states.iter().map(|(plugin, state)| (&*plugin.0, Bytes::new(state)));
    let timers =
        kept.timers.iter().map(|timer| (&*timer.plugin.0, &*timer.name, calendar.unix(timer.at)));
    let row = MailboxOut {
        name: kept.name.as_str(),
        identity: kept.identity.as_deref(),
        shared: kept.shared,
        limits,
        linger_ms: kept.linger_ms,
        attached: kept.attached,
        groups: kept.groups.iter().map(|group| (group.name.as_str(), group.chosen)).collect(),
        states: states.collect(),
        timers: timers.collect(),
    };
    encode(&row, out);
}

pub(super) fn decode_mailbox(
    uid: Uid,
    blob: &[u8],
    calendar: Calendar,
) -> Result<KeptMailbox, Damage> {
    let row: MailboxIn = decode(blob)?;
    let full = if row.limits.rejects { FullPolicy::Reject } else { FullPolicy::DropOldest };
    let states = row.states.into_iter();
    let timers = row.timers.into_iter();
    Ok(KeptMailbox {
        uid,
        name: name(&row.name)?,
        identity: row.identity.map(Into::into),
        shared: row.shared,
        limits: MailboxLimits {
            messages: row.limits.messages,
            bytes: row.limits.bytes,
            full,
            per_second: row.limits.per_second,
        },
        linger_ms: row.linger_ms,
        attached: row.attached,
        groups: row.groups.iter().map(group).collect::<Result<_, _>>()?,
        states: states
            .map(|(plugin, state)| (PluginName(plugin.into()), state.into_vec().into()))
            .collect(),
        timers: timers
            .map(|(plugin, name, at)| PluginTimer {
                plugin: PluginName(plugin.into()),
                name: name.into(),
                at: calendar.mono(at),
            })
            .collect(),
    })
}

pub(super) fn encode_marks<'a>(marks: &'a Marks, out: &mut Vec<u8>) {
    let seat = |seat: &'a KeptSeat| (Bytes::new(&seat.key.0), seat.confirmed, seat.handed);
    let seats = marks.seats.iter().map(seat);
    let lost = marks.lost.iter().map(|run| (run.first, run.last, run.count));
    let row: MarksRow<&Bytes> = (seats.collect(), marks.last, lost.collect());
    encode(&row, out);
}

pub(super) fn decode_marks(blob: &[u8]) -> Result<Marks, Damage> {
    let (seats, last, lost): MarksRow<ByteBuf> = decode(blob)?;
    let seat = |(bytes, confirmed, handed): (ByteBuf, u64, u64)| {
        Ok(KeptSeat { key: key(&bytes)?, confirmed, handed })
    };
    let run = |(first, last, count)| Run { first, last, count };
    Ok(Marks {
        seats: seats.into_iter().map(seat).collect::<Result<_, _>>()?,
        last,
        lost: lost.into_iter().map(run).collect(),
    })
}

pub(super) fn encode_sent(sent: &Sent, out: &mut Vec<u8>) {
    let message = &sent.message;
    let row = SentOut {
        kind: match message.payload.kind {
            Kind::Json => 0,
            Kind::Text => 1,
            Kind::Binary => 2,
        },
        payload: Bytes::new(&message.payload.bytes),
        ttl_ms: message.ttl_ms,
        collapse: message.collapse.as_deref(),
        channel: message.channel.get().map(Name::as_str),
        to: sent.to.iter().map(|(uid, seq)| (uid.0, *seq)).collect(),
    };
    encode(&row, out);
}

pub(super) fn decode_sent(id: u64, expires_at: Millis, blob: &[u8]) -> Result<Sent, Damage> {
    let row: SentIn = decode(blob)?;
    let kind = match row.kind {
        0 => Kind::Json,
        1 => Kind::Text,
        2 => Kind::Binary,
        other => return Err(Damage::Form(format!("{other} is no kind of payload"))),
    };
    let payload = Payload { kind, bytes: row.payload.into_vec().into() };
    let message = Message::new(payload, row.ttl_ms, row.collapse.map(Into::into));
    if let Some(channel) = row.channel {
        let channel = name(&channel)?;
        message.channel.get_or_init(|| channel);
    }
    let to = row.to.into_iter().map(|(uid, seq)| (Uid(uid), seq)).collect();
    Ok(Sent { id, message, expires_at, to })
}

pub(super) fn encode_epitaph(epitaph: &KeptEpitaph, out: &mut Vec<u8>) {
    let row = (
        epitaph.name.as_str(),
        Bytes::new(&epitaph.key.0),
        epitaph.cause.as_str(),
        &*epitaph.reason,
    );
    encode(&row, out);
}

pub(super) fn decode_epitaph(until: Millis, blob: &[u8]) -> Result<KeptEpitaph, Damage> {
    let (mailbox, of_it, cause, reason): EpitaphRow = decode(blob)?;
    let cause = CloseCause::named(&cause)
        .ok_or_else(|| Damage::Form(format!("{cause:?} is no cause of a close")))?;
    Ok(KeptEpitaph {
        name: name(&mailbox)?,
        key: key(&of_it)?,
        cause,
        reason: reason.into(),
        until,
    })
}

fn group((text, chosen): &(String, bool)) -> Result<KeptGroup, Damage> {
    Ok(KeptGroup { name: name(text)?, chosen: *chosen })
}

pub(super) fn encode_published<'a>(kept: &'a KeptPublish, out: &mut Vec<u8>) {
    let SendReport { queued, missing, full, dropped, duplicate: _ } = &kept.report;
    let texts = |names: &'a [Name]| names.iter().map(Name::as_str).collect();
    let row: PublishedRow<&str> =
        (kept.id.as_str(), *queued, *dropped, texts(missing), texts(full));
    encode(&row, out);
}

pub(super) fn decode_published(until: Millis, blob: &[u8]) -> Result<KeptPublish, Damage> {
    let (id, queued, dropped, missing, full): PublishedRow<String> = decode(blob)?;
    let id = PublishId::try_from(id).map_err(|error| Damage::Form(error.to_string()))?;
    let names = |texts: Vec<String>| -> Result<Vec<Name>, Damage> {
        texts.iter().map(|text| name(text)).collect()
    };
    let (missing, full) = (names(missing)?, names(full)?);
    let report = SendReport { queued, missing, full, dropped, duplicate: false };
    Ok(KeptPublish { id, report, until })
}

fn name(text: &str) -> Result<Name, Damage> {
    Name::parse(text).map_err(|error| Damage::Form(format!("{text:?}: {error}")))
}

fn key(bytes: &[u8]) -> Result<Key, Damage> {
    let bytes = bytes.try_into().map_err(|_| Damage::Form("a key has 16 bytes".into()))?;
    Ok(Key(bytes))
}

/// Puts a row and its checksum into `out`, whose content goes.
fn encode(row: &impl Serialize, out: &mut Vec<u8>) {
    out.clear();
    // Rows are made of what MessagePack has, and a Vec takes what it is given.
    rmp_serde::encode::write(out, row).expect("a row can be written");
    let sum = crc32fast::hash(out);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn decode<T: for<'de> Deserialize<'de>>(blob: &[u8]) -> Result<T, Damage> {
    let (row, sum) = blob.split_last_chunk::<SUM_BYTES>().ok_or(Damage::Checksum)?;
    if crc32fast::hash(row) != u32::from_le_bytes(*sum) {
        return Err(Damage::Checksum);
    }
    rmp_serde::from_slice(row).map_err(|error| Damage::Form(error.to_string()))
}

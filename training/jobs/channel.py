"""Channel: learn from messages sent which channel is answered, and what choosing it would have earned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.events.lake import Lake
from features.excluded import Excluded
from features.snapshots import contact_frame
from models._pyfunc import predict
from models.best_arm import BestArm
from models.candidates import BLOCK
from models.channel import Channel, Policy
from models.interactions import Interactions
from models.messages import ChannelLog
from models.policy import policy_value, policy_weights
from nextbest.columns import CHANNEL, CHANNELS, CONTACT_FEATURES, CONTACT_ID, MESSAGE_SENT, TIMESTAMP
from nextbest.errors import BadInput, NotReady
from training import plots
from training._message_log import COUNTERS, RESPONSE_DAYS, Around, MessageLog, contact_counters, message_log
from training._nobody import rows_of_nobody
from training._numbers import whole
from training._off_policy_log import kish
from training._snapshots import contacts_seen, frames
from training.base import Context, Evaluation
from training.metrics import expected_calibration_error, log_loss, roc_auc
from training.off_policy import Log, Overlap, ThinOverlap, compare, doubly_robust, one_hot, snips
from training.simulated_messages import TRAITS, simulate_messages, simulation_start
from training.split import TemporalSplit
from training.uplift import Uplift, channel_uplift, told

Floats = npt.NDArray[np.float64]
MOST_MESSAGES = 60_000
MOST_CONTACTS = 5_000
LEAST_MESSAGES = 1_000
LOGS = ("events", "simulated")
POLICIES: tuple[Policy, ...] = ("learned", "rates", "best_arm")
DAY = 86_400.0


@dataclass(frozen=True)
class ChannelData:
    """Messages before the cut whose answers were known by then, and messages after it."""

    split: TemporalSplit
    train: ChannelLog
    holdout: ChannelLog
    propensity: Floats
    """Of the hold-out's messages; where the log is silent, the channel's share of the training messages."""
    simulated: bool
    unanswerable: int
    uplifts: Mapping[str, Uplift]
    """Of channels that enough contacts were held out of."""


class ChannelJob:
    """The channel a contact answers."""

    name: ClassVar[str] = "channel"
    metric: ClassVar[str] = "response_rate"
    higher_is_better: ClassVar[bool] = True
    description: ClassVar[str] = (
        "Probability that a message over a channel is opened or clicked within seven days, for each contact "
        "and channel, and the channel worth most. Measured by the response rate the chosen channels would "
        "have had: self-normalised inverse propensity on later messages, true where channels were drawn at "
        "random with known propensities and only indicative elsewhere. A response is not a sale."
    )
    options: ClassVar[Mapping[str, str]] = {
        "log": "events: the lake's message events; simulated: a made-up log, to see how it works (events)",
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "messages": f"the latest messages to learn from at most ({MOST_MESSAGES})",
    }

    def prepare(self, context: Context) -> ChannelData:
        """Build the log, and split it by time."""
        kind = context.options.get("log", LOGS[0])
        if kind not in LOGS:
            raise BadInput(f"no log {kind!r}; known: {', '.join(LOGS)}")
        found = _simulated(context) if kind == "simulated" else _recorded(context)
        span = (_moment(found.sent_at[0]), _moment(found.sent_at[-1]))
        split = TemporalSplit.of(span, context)
        cut, end = split.cut.timestamp(), split.end.timestamp()
        train = found.log.take(found.sent_at <= cut - RESPONSE_DAYS * DAY)
        holdout = found.log.take((found.sent_at > cut) & (found.sent_at <= end))
        if not len(holdout) or not len(train):
            raise NotReady(f"no messages on both sides of {split.cut:%Y-%m-%d}: the channel model needs both")
        simulated = kind == "simulated"
        uplifts = {} if simulated else channel_uplift(context.settings, split.cut, context.seed)
        propensity = _propensity(holdout, train)
        return ChannelData(split, train, holdout, propensity, simulated, found.unanswerable, uplifts)

    def fit(self, data: ChannelData, context: Context) -> Channel:
        """Learn the model; raises ThinOverlap where the hold-out could not tell whether it is better."""
        model = Channel.learn(data.train, None, context.seed, context.progress)
        chosen = one_hot(_chosen(model, data.holdout, None), len(data.holdout.states.channels))
        Overlap.of(_log(data), chosen).require()
        if model.worth is not None:
            model.worth.uplift = _shares(data)
        return model

    def baselines(self, data: ChannelData, context: Context) -> Mapping[str, Any]:
        """Return the published rule topped up with the best channel for all, and that; the better first."""
        del context
        arm = BestArm.learn(list(data.train.names()), data.train.responses)
        found: dict[str, Any] = {"interactions_per_message": Interactions(arm), "best_arm": arm}
        known = _propensity(data.train, data.train)
        earned = {name: _policy(model, data.train, known)[0] for name, model in found.items()}
        return dict(sorted(found.items(), key=lambda pair: -earned[pair[0]]))

    def evaluate(self, model: Any, data: ChannelData) -> Evaluation:
        """Estimate the response rate of the channels the model would have chosen, and its foresight."""
        rate, weights, p = _policy(model, data.holdout, data.propensity)
        answered = data.holdout.responses
        metrics = {
            "response_rate": rate,
            "effective_messages": kish(weights),
            "auc": roc_auc(answered, p),
            "log_loss": log_loss(answered, p),
            "ece": expected_calibration_error(answered, p),
            "agreement": float((weights > 0).mean()),
        }
        return Evaluation(metrics, len(answered), lambda rows: policy_value(weights[rows], answered[rows]))

    def figures(self, model: Channel, data: ChannelData) -> Mapping[str, Any]:
        """Draw calibration, gains, the channels' rates and what the trees rest on."""
        _, _, p = _policy(model, data.holdout, data.propensity)
        answered, weight, table = data.holdout.responses, model.importance(), _by_channel(model, data)
        drawn = {
            "calibration.png": plots.calibration(answered, p),
            "gains.png": plots.gains(answered, {"channel": p}),
            "channels.png": plots.bars(
                list(data.holdout.states.channels), table["response_rate"], "Responses a message", "Rate"
            ),
        }
        if len(weight):
            names, gain = weight["feature"].tolist(), weight["gain"].to_numpy()
            drawn["importance.png"] = plots.importance(names, gain)
        return drawn

    def tables(self, model: Channel, data: ChannelData) -> Mapping[str, pd.DataFrame]:
        """Return messages and choices by channel, and what each policy would have earned."""
        return {"by_channel": _by_channel(model, data), "policies": _policies(model, data)}

    def example(self, model: Channel, data: ChannelData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return two contacts, neither of them anybody, over the log's channels, and their ranking."""
        many, two = (_long(data.holdout.take(np.arange(min(n, len(data.holdout))))) for n in (1_000, 2))
        named = two[[CONTACT_ID, CHANNEL]].reset_index(drop=True)
        frame = named.join(rows_of_nobody(many, [*CONTACT_FEATURES, *BLOCK], len(named)))
        return frame, predict(model, frame)

    def facts(self, data: ChannelData) -> Mapping[str, Any]:
        """Return rows, dates, and whether the log is real."""
        recorded = bool(np.isfinite(data.holdout.propensity).all())
        return {
            **data.split.facts(),
            "messages": len(data.train),
            "holdout_messages": len(data.holdout),
            "contacts": int(data.train.states.contacts[CONTACT_ID].nunique()),
            "channels": ", ".join(data.train.states.channels),
            "training_response_rate": float(data.train.responses.mean()),
            "response": f"opened or clicked within {RESPONSE_DAYS:.0f} days",
            "propensities": "recorded" if recorded else "estimated by the channel's share of messages",
            "messages_without_known_outcome": data.unanswerable,
            "simulated": data.simulated,
            "uplift": ", ".join(f"{name}: {said}" for name, said in told(data.uplifts).items())
            or "none: too few were held out, so a response counts with the orders put down to it",
        }


def _recorded(context: Context) -> MessageLog:
    """Read the lake's message events; raises NotReady where they are too few."""
    table = Lake(context.settings.lake).events(until=context.now)
    events = table.filter(table.event.isin([*COUNTERS])).to_pandas()
    events = Excluded.of(context.settings).without(events)
    sent = int((events["event"] == MESSAGE_SENT).sum())
    if sent < LEAST_MESSAGES:
        few = f"only {sent} messages sent" if sent else "no message events"
        raise NotReady(
            f"{few} in the lake, {LEAST_MESSAGES} needed; "
            "nextbest train channel --set log=simulated shows how it works on simulated messages"
        )
    channels = [c for c in CHANNELS if (events[CHANNEL] == c).any()]

    def features(spine: pd.DataFrame) -> pd.DataFrame:
        return frames(context.settings, "best_channel", spine)

    most = whole(context, "messages", MOST_MESSAGES, LEAST_MESSAGES)
    until = context.now.timestamp()
    return _some(message_log(events, channels, until, features, most, _around(context, earns=True)))


def _simulated(context: Context) -> MessageLog:
    """Simulate messages to the contacts there are, over the last days of their data."""
    span = Lake(context.settings.lake).span()
    if span is None:
        raise NotReady("there are no contacts to simulate messages to; run `nextbest ingest` first")
    until = min(span[1], context.now)
    start = simulation_start(until)
    seen = contacts_seen(context.settings)
    ids = seen.loc[seen["first"] < pd.Timestamp(start), CONTACT_ID]
    if len(ids) > MOST_CONTACTS:
        ids = ids.sample(MOST_CONTACTS, random_state=context.seed).sort_values()
    if not len(ids):
        raise NotReady(f"no contact was known by {start:%Y-%m-%d}, when the simulation would begin")
    spine = pd.DataFrame({CONTACT_ID: ids.to_numpy(), TIMESTAMP: pd.Timestamp(start)})
    known = contact_frame(context.settings, "best_channel", spine)
    events = simulate_messages(known[[CONTACT_ID, *TRAITS]], until, context.seed)

    def features(spine: pd.DataFrame) -> pd.DataFrame:
        real = frames(context.settings, "best_channel", spine)
        counted = contact_counters(events, spine)
        return real.drop(columns=list(counted)).join(counted)

    channels = [c for c in CHANNELS if (events[CHANNEL] == c).any()]
    most = whole(context, "messages", MOST_MESSAGES, LEAST_MESSAGES)
    around = _around(context, earns=False, also=events)
    return _some(message_log(events, channels, until.timestamp(), features, most, around))


def _around(
    context: Context, earns: bool, also: pd.DataFrame | None = None
) -> Callable[[Sequence[str]], Around]:
    """Return what reads the lake's events of contacts, `also` others, and what is recorded of them."""
    columns = [CONTACT_ID, "event", TIMESTAMP, CHANNEL, "price", "quantity"]
    lake = Lake(context.settings.lake)

    def around(contact_ids: Sequence[str]) -> Around:
        table = lake.events(until=context.now)
        events = table.filter(table.contact_id.isin(list(contact_ids))).select(*columns).to_pandas()
        if also is not None:
            events = pd.concat([events, also[columns]], ignore_index=True)
        return Around(events, lake.contacts(), context.settings.margin, earns)

    return around


def _shares(data: ChannelData) -> dict[str, float]:
    """Return what share of the profit put down to messages is uplift, by channel, where the log can tell."""
    shares = {}
    for channel, uplift in data.uplifts.items():
        rows = data.train.names() == channel
        earned = None if data.train.earned is None else data.train.earned[rows]
        if earned is None or not np.isfinite(earned).any():
            continue
        if (share := uplift.factor(float(np.nanmean(earned)))) is not None:
            shares[channel] = share
    return shares


def _some(found: MessageLog) -> MessageLog:
    if not len(found.log):
        raise NotReady(f"no message is older than {RESPONSE_DAYS:.0f} days: no outcome is known yet")
    return found


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _propensity(log: ChannelLog, train: ChannelLog) -> Floats:
    share = np.bincount(train.sent, minlength=len(train.states.channels)) / len(train)
    return np.where(np.isfinite(log.propensity), log.propensity, np.maximum(share[log.sent], 1e-3))


def _long(log: ChannelLog) -> pd.DataFrame:
    """Return the states as the models read them; every message counts as a contact of its own."""
    states = log.states
    named = states.contacts.assign(**{CONTACT_ID: [str(row) for row in range(len(log))]})
    return type(states)(named, states.channels, states.blocks).to_long()


def _policy(model: Any, log: ChannelLog, propensity: Floats) -> tuple[float, Floats, Floats]:
    """Return the policy's response rate, its weights, and P(response) of each message as it was sent."""
    channels = log.states.channels
    ranked = model.rank(_long(log), channels)
    row = ranked[CONTACT_ID].astype(int).to_numpy()
    place = ranked[CHANNEL].map({c: i for i, c in enumerate(channels)}).to_numpy(np.int64)
    p = np.full((len(log), len(channels)), np.nan)
    p[row, place] = ranked["probability"].to_numpy(np.float64)
    first = (ranked["rank"] == 1).to_numpy()
    chosen = np.empty(len(log), dtype=np.int64)
    chosen[row[first]] = place[first]
    weights = policy_weights(chosen == log.sent, propensity)
    return policy_value(weights, log.responses), weights, p[np.arange(len(log)), log.sent]


def _policies(model: Channel, data: ChannelData) -> pd.DataFrame:
    """Return what each of the model's policies would have earned, and more than one channel for all.

    By SNIPS and doubly robust on the hold-out, with 90 % intervals over contacts (training.off_policy); the
    model's own estimates, which have not seen the hold-out, are the reward model.
    """
    log, count, rows = _log(data), len(data.holdout.states.channels), []
    everyone = one_hot(_chosen(model, data.holdout, "best_arm"), count)
    predicted = model.estimate(data.holdout.states).probability
    for name in POLICIES:
        policy = one_hot(_chosen(model, data.holdout, name), count)
        try:
            rate, robust = snips(log, policy), doubly_robust(log, policy, predicted)
            gain = compare(log, policy, everyone, predicted)
        except ThinOverlap:
            continue
        rows.append(
            {"policy": name, "kept": str(name == model.policy), "response_rate": rate.value,
             "low": rate.low, "high": rate.high, "doubly_robust": robust.value, "dr_low": robust.low,
             "dr_high": robust.high, "over_one_channel": gain.value, "gain_low": gain.low,
             "gain_high": gain.high, "effective_messages": rate.effective_sample_size}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _log(data: ChannelData) -> Log:
    holdout = data.holdout
    contacts = holdout.states.contacts[CONTACT_ID].to_numpy()
    return Log(holdout.sent, holdout.responses, np.clip(data.propensity, 1e-6, 1.0), contacts)


def _chosen(model: Channel, log: ChannelLog, policy: Policy | None) -> npt.NDArray[np.int64]:
    return np.asarray(model.estimate(log.states, policy).probability.argmax(axis=1), dtype=np.int64)


def _by_channel(model: Channel, data: ChannelData) -> pd.DataFrame:
    chosen = model.estimate(data.holdout.states).probability.argmax(axis=1)
    rows = []
    for place, channel in enumerate(data.holdout.states.channels):
        sent = data.holdout.sent == place
        rate = float(data.holdout.responses[sent].mean()) if sent.any() else float("nan")
        share = float((chosen == place).mean())
        rows.append({"channel": channel, "messages": int(sent.sum()), "response_rate": rate, "chosen": share})
    return pd.DataFrame(rows)

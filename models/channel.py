"""Channel: P(a message over a channel is opened or clicked), and the channel that is worth most.

Three policies are learned, and the best of those surely better than one channel for everyone is kept: boosted
trees over contact and channel, response rates smoothed in layers, or, where neither has found anything, that
one channel.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal, Self

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from models._best_time import BestTime, Sent
from models._beyond import Beyond, Seen
from models._calibration import Calibration
from models._channel_linear import Linear
from models._channel_trees import FEATURES, ChannelConfig, Trees, grow, inputs_of, raw_probabilities
from models._frame import floats, matrix
from models._ranked import Estimate, Value, ranked
from models._response_rates import ResponseRates
from models._response_worth import Answered, ResponseWorth
from models._unsubscribing import Unsubscribing
from models.base import Floats
from models.best_arm import BestArm
from models.candidates import Candidates
from models.messages import ChannelLog
from models.policy import policy_value, policy_weights, surely_better, surely_gains
from models.rfm import Rfm
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

Policy = Literal["learned", "rates", "best_arm"]
RISK = 0.05
"""Of choosing by contact where one channel for all is as good, over all policies tried (Bonferroni)."""


class Channel:
    """Answers for each contact and channel with the probability of a response and where it comes from."""

    kind: ClassVar[str] = "channel"

    def __init__(
        self,
        config: ChannelConfig,
        policy: Policy,
        rates: ResponseRates,
        best_arm: BestArm,
        rfm: Rfm | None,
        trees: Trees | None,
        times: BestTime | None = None,
        worth: ResponseWorth | None = None,
        unsubscribing: Unsubscribing | None = None,
    ) -> None:
        self.config, self.policy, self.rates, self.best_arm = config, policy, rates, best_arm
        self.rfm, self.trees, self.worth = rfm, trees, worth
        self.times = times or BestTime.unknown()
        self.unsubscribing = unsubscribing or Unsubscribing.unknown()

    @classmethod
    def learn(
        cls, data: ChannelLog, config: ChannelConfig | None = None, seed: int = 7, progress: Progress = silent
    ) -> Self:
        """Learn from a log of messages; raises NotReady where it is too short or shows one outcome only."""
        config = config or ChannelConfig()
        _require(data, config)
        cut = int(len(data) * (1 - config.later_share))
        early, late = data.take(np.arange(cut)), data.take(np.arange(cut, len(data)))
        rfm = _segments(early)
        rates = ResponseRates.learn(_messages(early, rfm))
        model = cls(config, "best_arm", rates, BestArm.learn(list(early.names()), early.responses), rfm, None)
        progress("channel: trees", 0, config.rounds)
        model.trees = model._grow(early, late, seed)
        progress("channel: trees", config.rounds, config.rounds)
        model.policy = model._choose(late, seed)
        model._refit(data, seed)
        model._learn_beyond(data, seed)
        return model

    def estimate(self, candidates: Candidates, policy: Policy | None = None) -> Estimate:
        """Return the estimate of a policy; without one, of the policy that was kept."""
        policy = policy or self.policy
        if policy == "best_arm":
            return self.best_arm.estimate(candidates)
        smoothed, prior = self._smoothed(candidates)
        if policy == "rates" or self.trees is None:
            return smoothed
        learned = np.array([channel in self.trees.channels for channel in candidates.channels])
        probability = smoothed.probability.copy()
        if learned.any():
            probability[:, learned] = self._by_trees(candidates, smoothed, prior, np.flatnonzero(learned))
        source = np.where(learned[None, :], "learned", smoothed.source).astype(object)
        return Estimate(probability, smoothed.strength, source)

    def rank(
        self,
        frame: pd.DataFrame,
        channels: Sequence[str],
        value: Value = 1.0,
        costs: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Return every channel for every contact, best first (columns: models._ranked.ranked).

        In: rows as models.candidates.Candidates.from_long reads them. `source` is "learned", "own_rates",
        "segment_rates", "default" (the channel's rate for everyone) or "best_arm" (choosing by contact was
        not surely better than one channel for all).
        """
        candidates = Candidates.from_long(frame, channels)
        return ranked(candidates, self.estimate(candidates), value, costs)

    def beyond(self, candidates: Candidates, seen: Seen) -> Beyond:
        """Return what a response is worth, the risk of losing the contact and the factors of hours."""
        contacts = candidates.contacts
        worth = None
        if self.worth is not None:
            worth = self.worth.of(matrix(contacts, CONTACT_FEATURES), candidates.channels)
        recent = np.nan_to_num(floats(contacts, "sent_7d"))
        factors = self.times.factors(seen, _segment_of(contacts, self.rfm))
        by_uplift = self.worth is not None and bool(self.worth.uplift)
        risk = self.unsubscribing.risk(candidates.channels, recent)
        return Beyond(worth, risk, factors, by_uplift)

    def importance(self) -> pd.DataFrame:
        """Return each feature's share of the trees' gain, largest first; empty without trees."""
        if self.trees is None:
            return pd.DataFrame({"feature": [], "gain": []})
        gain = self.trees.booster.feature_importance("gain").astype(np.float64)
        table = pd.DataFrame({"feature": FEATURES, "gain": gain / max(gain.sum(), 1e-12)})
        return table.sort_values("gain", ascending=False, ignore_index=True)

    def save(self, folder: Path) -> None:
        """Write channel.json, best_arm/, and rfm/ and trees.txt where there are any."""
        parts = {"config": asdict(self.config), "policy": self.policy, "rates": self.rates.to_json()}
        if self.trees is not None:
            self.trees.booster.save_model(folder / "trees.txt")
            parts["trees"] = {
                "linear": self.trees.linear.to_json(),
                "channels": self.trees.channels,
                "calibration": self.trees.calibration.to_json(),
                "features": FEATURES,
            }
        (folder / "channel.json").write_text(json.dumps(parts | {"leaving": self.unsubscribing.to_json()}))
        self.times.save(folder)
        if self.worth is not None:
            self.worth.save(folder)
        for name, model in (("best_arm", self.best_arm), ("rfm", self.rfm)):
            if model is not None:
                (folder / name).mkdir()
                model.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote; raises BadInput where it was learned on other features than are known now."""
        parts = json.loads((folder / "channel.json").read_text())
        trees = None
        if (kept := parts.get("trees")) is not None:
            if tuple(kept["features"]) != FEATURES:
                raise BadInput(
                    "the channel model was learned on other features; nextbest train channel mends it"
                )
            booster = lgb.Booster(model_file=folder / "trees.txt")
            trees = Trees(
                booster,
                Linear.from_json(kept["linear"]),
                tuple(kept["channels"]),
                Calibration.from_json(kept["calibration"]),
            )
        return cls(
            ChannelConfig(**parts["config"]),
            parts["policy"],
            ResponseRates.from_json(parts["rates"]),
            BestArm.load(folder / "best_arm"),
            Rfm.load(folder / "rfm") if (folder / "rfm").is_dir() else None,
            trees,
            BestTime.load(folder),
            ResponseWorth.load(folder) if ResponseWorth.in_folder(folder) else None,
            Unsubscribing.from_json(parts["leaving"]),
        )

    def _smoothed(self, candidates: Candidates) -> tuple[Estimate, Floats]:
        """Return contacts' rates drawn to their segments', those to everyone's; and the segments'."""
        prior, strength, of_segment = self.rates.priors(
            _segment_of(candidates.contacts, self.rfm), candidates.channels
        )
        sent, answered = candidates.evidence()
        probability = (strength * prior + answered) / (strength + sent)
        layers = [
            candidates.of("sent_total") >= self.config.least_own,
            of_segment >= self.config.least_segment,
        ]
        source = np.select(layers, ["own_rates", "segment_rates"], "default").astype(object)
        return Estimate(probability, strength + sent, source), prior

    def _by_trees(
        self, candidates: Candidates, smoothed: Estimate, prior: Floats, places: npt.NDArray[np.int64]
    ) -> Floats:
        """Return calibrated probabilities, shape (contacts, places)."""
        assert self.trees is not None  # noqa: S101 — the caller asked
        contacts = matrix(candidates.contacts, CONTACT_FEATURES)
        columns = [
            self.trees.probability(
                inputs_of(contacts, candidates, smoothed, prior, place, self.trees.channels),
                self.trees.channels.index(candidates.channels[place]),
            )
            for place in places
        ]
        return np.stack(columns, axis=1)

    def _grow(self, early: ChannelLog, late: ChannelLog, seed: int) -> Trees | None:
        """Grow trees on the early messages, calibrate them on the late; None without both outcomes."""
        names, counts = np.unique(early.names().astype(str), return_counts=True)
        channels = tuple(str(n) for n in names[counts >= self.config.least_per_channel])
        rows, late_rows = (np.isin(log.names().astype(str), channels) for log in (early, late))
        early, late = early.take(rows), late.take(late_rows)
        if any(len(np.unique(log.responses)) < 2 for log in (early, late)):
            return None
        linear, booster = grow(
            self._sent_inputs(early, channels), early.responses, channels, self.config, seed
        )
        raw = raw_probabilities(booster, linear, self._sent_inputs(late, channels))
        return Trees(booster, linear, channels, Calibration.learn(raw, late.responses, seed))

    def _refit(self, data: ChannelLog, seed: int) -> None:
        """Learn what was chosen again from all messages; the calibration stays that of the later ones."""
        self.rates = ResponseRates.learn(_messages(data, self.rfm))
        self.best_arm = BestArm.learn(list(data.names()), data.responses)
        if self.trees is not None:
            channels = self.trees.channels
            known = data.take(np.isin(data.names().astype(str), channels))
            inputs = self._sent_inputs(known, channels)
            linear, booster = grow(inputs, known.responses, channels, self.config, seed)
            self.trees = Trees(booster, linear, channels, self.trees.calibration)

    def _learn_beyond(self, data: ChannelLog, seed: int) -> None:
        """Learn what the log tells of hours, of money and of leaving, where it tells of them."""
        states, names = data.states, data.names()
        if data.left is not None:
            recent = np.nan_to_num(floats(states.contacts, "sent_7d"))
            self.unsubscribing = Unsubscribing.learn(names, recent, data.left)
        if data.earned is not None and (data.earned > 0).any():
            rows = (data.responses > 0) & np.isfinite(data.earned)
            contacts = matrix(states.contacts, CONTACT_FEATURES)[rows]
            found = Answered(contacts, data.sent[rows], data.earned[rows])
            self.worth = ResponseWorth.learn(found, states.channels, self.config.later_share)
        if data.hours is not None and data.seen is not None:
            expected = self.estimate(states).probability[np.arange(len(data)), data.sent]
            segments = _segment_of(states.contacts, self.rfm)
            self.times = BestTime.learn(Sent(data.hours, data.responses, expected, segments, data.seen), seed)

    def _sent_inputs(self, log: ChannelLog, channels: tuple[str, ...]) -> Floats:
        """Return the trees' input for the channel each message went over, shape (messages, FEATURES)."""
        smoothed, prior = self._smoothed(log.states)
        contacts = matrix(log.states.contacts, CONTACT_FEATURES)
        out = np.empty((len(log), len(FEATURES)))
        for place in np.unique(log.sent):
            rows = log.sent == place
            part = Estimate(smoothed.probability[rows], smoothed.strength[rows], smoothed.source[rows])
            out[rows] = inputs_of(
                contacts[rows], log.states.take(rows), part, prior[rows], int(place), channels
            )
        return out

    def _choose(self, late: ChannelLog, seed: int) -> Policy:
        """Return what earned most on the late messages, of the policies surely better than one channel."""
        if not len(late):
            return "best_arm"
        options: list[Policy] = ["rates"] if self.trees is None else ["learned", "rates"]
        if np.isfinite(late.propensity).all():
            return self._by_earnings(late, options, seed)
        return self._by_likelihood(late, options)

    def _by_earnings(self, late: ChannelLog, options: list[Policy], seed: int) -> Policy:
        def weights(policy: Policy) -> Floats:
            chosen = self.estimate(late.states, policy).probability.argmax(axis=1)
            return policy_weights(chosen == late.sent, late.propensity)

        one = weights("best_arm")
        level = 1 - RISK / len(options)
        sure = [p for p in options if surely_better(weights(p), one, late.responses, seed, level)]
        return max(sure, key=lambda p: policy_value(weights(p), late.responses), default="best_arm")

    def _by_likelihood(self, late: ChannelLog, options: list[Policy]) -> Policy:
        """Choose where the log does not say how its channels were chosen: by log-likelihood a message."""
        rows = np.arange(len(late))

        def likelihood(policy: Policy) -> Floats:
            p = np.clip(self.estimate(late.states, policy).probability[rows, late.sent], 1e-9, 1 - 1e-9)
            return np.where(late.responses > 0, np.log(p), np.log1p(-p))

        one, z = likelihood("best_arm"), ndtri(1 - RISK / len(options))
        gains = {policy: likelihood(policy) - one for policy in options}
        sure = [p for p, g in gains.items() if surely_gains(g, z)]
        return max(sure, key=lambda p: float(gains[p].mean()), default="best_arm")


def _segments(early: ChannelLog) -> Rfm | None:
    """Learn RFM classes on the latest state of each contact; None where nobody has bought."""
    latest = early.states.contacts.drop_duplicates(CONTACT_ID, keep="last")
    try:
        return Rfm.learn(latest)
    except NotReady:
        return None


def _segment_of(contacts: pd.DataFrame, rfm: Rfm | None) -> npt.NDArray[np.object_]:
    if rfm is None:
        return np.full(len(contacts), "all", dtype=object)
    return rfm.score(contacts)["segment"].to_numpy(dtype=object)


def _messages(log: ChannelLog, rfm: Rfm | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            CONTACT_ID: log.states.contacts[CONTACT_ID].to_numpy(),
            "segment": _segment_of(log.states.contacts, rfm),
            "channel": log.names(),
            "response": log.responses,
        }
    )


def _require(data: ChannelLog, config: ChannelConfig) -> None:
    if len(data) < config.least_messages:
        raise NotReady(f"{len(data)} messages were sent; the channel model needs {config.least_messages}")
    if len(np.unique(data.responses)) < 2:
        what = "every message was" if data.responses[0] else "no message was"
        raise NotReady(f"{what} answered: there is nothing to tell channels apart by")

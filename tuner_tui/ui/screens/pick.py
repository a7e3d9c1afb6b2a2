"""What should I pick?: a goal, and what is proposed for it on this machine, with reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.reactive import var
from textual.widgets import OptionList, Static

from tuner_tui.config.draft import UNSET
from tuner_tui.config.goals import find_goal, list_goals
from tuner_tui.config.spec_paths import DEMO
from tuner_tui.errors import TunerError
from tuner_tui.planning.proposals import Proposal, Proposals, propose
from tuner_tui.runs.proposal_basis import ProposalBasis, read_basis
from tuner_tui.text import counted, shell_command, size
from tuner_tui.ui.background import in_background
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow
from tuner_tui.ui.widgets.wrapped_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.config.goals import Goal

LABEL_CELLS = 20
WORDS_CELLS = 70
"""Cells from which a goal is shown with its words."""


class PickScreen(TunerScreen):
    """Goals above, proposals for the highlighted one below; Enter on a proposal begins a new run with it."""

    CSS_PATH = "pick.tcss"
    TITLE_WORDS = "What should I pick?"
    HELP_TEXT = (
        "Choose what you want from the model; below are models, methods and settings for it that fit this machine, by "
        "the time that they take: within an hour, a night and a day the largest model first. The demo's model is last. "
        "p opens Chat with a system prompt, which may be all that you need."
    )
    BINDINGS = [  # noqa: RUF012
        Binding("p", "chat_first", "Chat first", tooltip="Try a system prompt in Chat before you train"),
        Binding("escape", "app.pop_screen", "Back", key_display="esc", tooltip="Back to where you came from"),
    ]

    basis: var[ProposalBasis | None] = var(None, init=False)
    proposals: var[Proposals | None] = var(None, init=False)

    def __init__(self, on_pick: Callable[[Proposal], None]) -> None:
        super().__init__()
        self._on_pick = on_pick
        self._known: dict[str, Proposals] = {}

    @property
    def headless_command(self) -> str:
        goal = self._goal if self.is_mounted else list_goals()[0]
        return shell_command("pick", options=["--goal", goal.name])

    def compose_body(self) -> ComposeResult:
        with Container(id="pick"):
            with Vertical(id="wishes"):
                yield Static("What do you want from the model?", classes="pane-head")
                yield PickList(
                    id="goals", help_text="What you want from the model. Enter goes to the proposals for it."
                )
                yield Static(id="instead", markup=False)
            with Vertical(id="choices"):
                yield Static("Reading this machine and its models ...", id="ranking", markup=False)
                yield PickList(
                    id="proposals",
                    help_text="What fits this machine, the best first. Enter begins a new run with the selected line.",
                )
                with VerticalScroll(id="reasons", can_focus=True):
                    yield Static("", markup=False)

    def on_mount(self) -> None:
        self._show_goals()
        self.set_focus(self.query_one("#goals", PickList))
        self._read_basis()

    def _show_goals(self) -> None:
        """With their words where there is room for these."""
        goals = self.query_one("#goals", PickList)
        has_room = not goals.size.width or goals.size.width >= WORDS_CELLS
        goals.show(
            tuple(PickRow(goal.name, goal.title, (goal.words,) if has_room else ()) for goal in list_goals())
        )

    @property
    def _goal(self) -> Goal:
        """The highlighted goal."""
        return find_goal(self.query_one("#goals", PickList).picked_key or list_goals()[0].name)

    @property
    def _proposal(self) -> Proposal | None:
        """The highlighted proposal."""
        key = self.query_one("#proposals", PickList).picked_key
        if self.proposals is None or key is None or self.proposals.goal != self._goal:
            return None
        return self.proposals.items[int(key)]

    @work(exclusive=True, group="basis")
    async def _read_basis(self) -> None:
        try:
            self.basis = await in_background(read_basis, Path.cwd())
        except TunerError as error:
            ranking = self.query_one("#ranking", Static)
            ranking.add_class("-problem")
            show(ranking, literal(f"! {error.in_one_line}"))

    def watch_basis(self) -> None:
        self._propose()

    @on(OptionList.OptionHighlighted, "#goals")
    def follow_goal(self) -> None:
        goal = self._goal
        words = Content.assemble(
            ("Is it fine-tuning? ", "bold"), literal(goal.instead), ("  p: chat first", "$accent")
        )
        show(self.query_one("#instead", Static), words)
        self.refresh_command()
        self._propose()

    @work(exclusive=True, group="proposals")
    async def _propose(self) -> None:
        """In a thread: each proposal is a plan of its own."""
        goal, basis = self._goal, self.basis
        if basis is None:
            return
        if goal.name not in self._known:
            self._known[goal.name] = await in_background(
                propose, goal, basis.candidates, basis.place, data=UNSET
            )
        self.proposals = self._known[goal.name]

    def watch_proposals(self, proposals: Proposals | None) -> None:
        if proposals is None or self.basis is None:
            return
        rows = tuple(_row(str(index), proposal) for index, proposal in enumerate(proposals.items))
        choices = self.query_one("#proposals", PickList)
        choices.show(rows, "0" if rows else None)
        show(self.query_one("#ranking", Static), literal(_ranking_words(proposals, self.basis)))
        fitting = sum(proposal.verdict == "fits" for proposal in proposals.items)
        self.query_one(
            TitleBar
        ).state = f"{counted(fitting, 'proposal')} {'fits' if fitting == 1 else 'fit'} here"
        self.explain()

    @on(OptionList.OptionHighlighted, "#proposals")
    def explain(self) -> None:
        """Show why."""
        proposal, pane = self._proposal, self.query_one("#reasons", VerticalScroll)
        if proposal is None:
            return
        width = max(40, pane.size.width - 3)
        lines = [
            Entry(
                Content.styled(f"{reason.name:<{LABEL_CELLS}} ", "bold"),
                Content.assemble(literal(reason.value), (f"  {reason.reason}", "$secondary")),
            ).wrapped(width)
            for reason in proposal.reasons
        ]
        pane.scroll_home(animate=False)
        show(pane.query_one(Static), Content("\n").join(lines))

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_goals)
        self.call_after_refresh(self.explain)

    @on(OptionList.OptionSelected, "#goals")
    def go_to_proposals(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.set_focus(self.query_one("#proposals", PickList))

    @on(OptionList.OptionSelected, "#proposals")
    def take(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        proposal = self._proposal
        if proposal is not None:
            self.dismiss(None)
            self._on_pick(proposal)

    def action_chat_first(self) -> None:
        """Chat with a model that is here, with the goal's system prompt to complete."""
        from tuner_tui.generation.candidates import candidate_of
        from tuner_tui.generation.conversation import Conversation
        from tuner_tui.ui.screens.chat import ChatScreen

        try:
            candidate = candidate_of(self._model_here())
        except TunerError as error:
            self.show_error(error)
            return
        talk = Conversation(candidates=(candidate,))
        self.app.push_screen(ChatScreen(talk, first_prompt=self._goal.system_prompt))

    def _model_here(self) -> str:
        """The highlighted model if it is on this machine, else the first proposed one that is, else the demo's."""
        items = self.proposals.items if self.proposals else ()
        ordered = (*filter(None, (self._proposal,)), *items)
        return next((proposal.model.named for proposal in ordered if proposal.model.is_here), DEMO)


def _row(key: str, proposal: Proposal) -> PickRow:
    model, memory = proposal.model, proposal.memory
    used = f"{proposal.verdict}, {memory.estimate.words()} GB"
    where = "on this machine" if model.is_here else f"{size(model.download_bytes)} to get"
    gated = ", gated" if model.gated else ""
    return PickRow(key, model.name, (used, proposal.time_in_short, proposal.how, f"{where}{gated}"))


def _ranking_words(proposals: Proposals, basis: ProposalBasis) -> str:
    """What was ranked: the table with its date, the device, and what is not shown."""
    parts = [basis.table_words, basis.place_words]
    if proposals.too_big:
        parts.append(f"{counted(proposals.too_big, 'more is', 'more are')} too big")
    if proposals.left_out:
        parts.append(f"{counted(proposals.left_out, 'similar proposal')} left out")
    return "; ".join(parts)

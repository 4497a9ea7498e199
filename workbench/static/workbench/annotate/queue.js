// The items of this page: the one on screen, those to come, and those that undo goes back to.

export class Queue {
  current = null; // on screen
  upcoming = []; // fetched and not yet shown
  answered = []; // answered or skipped here, newest last
  undone = []; // answered ones that undo has gone past, oldest first

  /** The comparisons that the server has handed out to this page and that are not answered yet. */
  handedOut() {
    return [this.current, ...this.upcoming].filter(Boolean).map((item) => item.comparison);
  }

  /** The item whose last answer was sent under this key. */
  answeredUnder(key) {
    return [this.current, ...this.answered, ...this.undone].find((item) => item?.supersedes === key);
  }

  /** The current item is done for now. What undo has gone past comes after it again. */
  finishCurrent() {
    this.answered.push(this.current, ...this.undone.splice(0));
  }

  /** The server knows an answer that is older than all of this page. */
  goPastAll() {
    this.undone.unshift(...this.answered.splice(0));
  }

  /** The current item makes way for an older one: a voted item is not handed out again. */
  putBackCurrent(isVoted) {
    (isVoted ? this.undone : this.upcoming).unshift(this.current);
  }

  /** Undo finds this item first. */
  makeNewest(item) {
    [this.answered, this.undone] = [this.answered, this.undone].map((items) =>
      items.filter((other) => other !== item),
    );
    this.answered.push(item);
  }

  /** The number of the oldest Judgment of this page, or null. An answer has its Judgment once it has arrived. */
  oldestJudgment() {
    const items = [...this.answered, this.current, ...this.undone];
    const judgments = items.map((item) => Number(item?.judgment)).filter(Boolean);
    return judgments.length ? Math.min(...judgments) : null;
  }
}

export const queue = new Queue();

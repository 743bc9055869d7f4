/** Files that models or a dataset hold open. They are closed when the last of those that share them lets go. */
export class OpenFiles implements Disposable {
  readonly #files = new Set<Disposable>();
  #holders = 1;

  add<File extends Disposable>(file: File): File {
    this.#files.add(file);
    return file;
  }

  /** For another model that reads them. */
  share(): this {
    this.#holders += 1;
    return this;
  }

  [Symbol.dispose](): void {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    for (const file of this.#files) file[Symbol.dispose]();
    this.#files.clear();
  }
}

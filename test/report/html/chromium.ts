import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** Where the system has Chromium; undefined where it has none. */
export function findChromium(): string | undefined {
  const directories = (process.env.PATH ?? '').split(delimiter);
  return directories
    .flatMap((directory) => NAMES.map((name) => join(directory, name)))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
  '--force-color-profile=srgb',
  '--remote-debugging-pipe',
];

type Json = Record<string, unknown>;

interface Waiting {
  readonly resolve: (result: Json) => void;
  readonly reject: (error: Error) => void;
}

/** Chromium without a window, driven through two pipes by its DevTools protocol. */
export class Chromium implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(method: string, params: Json, session: string) => void>();
  #next = 0;
  #rest = '';

  constructor(path: string) {
    this.#profile = mkdtempSync(join(tmpdir(), 'chromium-'));
    this.#process = spawn(path, [...FLAGS, `--user-data-dir=${this.#profile}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    const output = this.#process.stdio[4] as Readable;
    output.setEncoding('utf8');
    output.on('data', (chunk: string) => this.#read(chunk));
    const fail = (error: Error): void => {
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    this.#process.once('error', fail);
    this.#process.once('exit', (code) => fail(new Error(`Chromium ended with ${code}`)));
  }

  #read(chunk: string): void {
    const messages = (this.#rest + chunk).split('\0');
    this.#rest = messages.pop() ?? '';
    for (const text of messages) {
      const message = JSON.parse(text) as {
        id?: number;
        method?: string;
        params?: Json;
        result?: Json;
        error?: { message: string };
        sessionId?: string;
      };
      if (message.id === undefined) {
        for (const listener of this.#listeners)
          listener(message.method ?? '', message.params ?? {}, message.sessionId ?? '');
        continue;
      }
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error !== undefined) waiting?.reject(new Error(message.error.message));
      else waiting?.resolve(message.result ?? {});
    }
  }

  send(method: string, params: Json = {}, sessionId?: string): Promise<Json> {
    this.#next += 1;
    const id = this.#next;
    const text = JSON.stringify({ id, method, params, ...(sessionId !== undefined && { sessionId }) });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      (this.#process.stdio[3] as Writable).write(`${text}\0`);
    });
  }

  listen(listener: (method: string, params: Json, session: string) => void): void {
    this.#listeners.add(listener);
  }

  /** A new page; `problems` collects everything that its console or the browser complains of. */
  async open(url: string, options: PageOptions = {}): Promise<BrowserPage> {
    const { width = 1280, height = 900, scale = 1, dark = false, scripts = true } = options;
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new BrowserPage(this, String(sessionId));
    await page.send('Runtime.enable');
    await page.send('Log.enable');
    await page.send('Page.enable');
    await page.send('Network.enable');
    await page.send('Emulation.setDeviceMetricsOverride', {
      width,
      height,
      deviceScaleFactor: scale,
      mobile: width < 600,
    });
    await page.send('Emulation.setEmulatedMedia', {
      features: [
        { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ],
    });
    if (!scripts) await page.send('Emulation.setScriptExecutionDisabled', { value: true });
    await page.go(url);
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) resolve();
      else this.#process.once('exit', () => resolve());
    });
    await Promise.race([this.send('Browser.close').catch(() => undefined), ended]);
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(timer);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

export interface PageOptions {
  readonly width?: number;
  readonly height?: number;
  readonly scale?: number;
  readonly dark?: boolean;
  /** Default true. */
  readonly scripts?: boolean;
}

export class BrowserPage {
  readonly problems: string[] = [];
  /** What the page asked for beside itself. */
  readonly requests: string[] = [];
  readonly #browser: Chromium;
  readonly #session: string;
  #loaded: (() => void) | undefined;

  constructor(browser: Chromium, session: string) {
    this.#browser = browser;
    this.#session = session;
    browser.listen((method, params, from) => {
      if (from !== session) return;
      if (method === 'Page.loadEventFired') this.#loaded?.();
      if (method === 'Runtime.exceptionThrown') this.problems.push(JSON.stringify(params.exceptionDetails));
      if (method === 'Log.entryAdded') this.problems.push(JSON.stringify(params.entry));
      if (method === 'Runtime.consoleAPICalled') this.problems.push(JSON.stringify(params.args));
      if (method === 'Network.requestWillBeSent') {
        this.requests.push((params.request as { url: string }).url);
      }
    });
  }

  send(method: string, params: Json = {}): Promise<Json> {
    return this.#browser.send(method, params, this.#session);
  }

  async go(url: string): Promise<void> {
    const loaded = new Promise<void>((resolve) => {
      this.#loaded = resolve;
    });
    await this.send('Page.navigate', { url });
    await loaded;
  }

  /** The value of an expression, which may be a promise. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
      userGesture: true,
    })) as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails !== undefined) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  async press(key: string): Promise<void> {
    // A key is known to the page by its virtual code, too.
    const codes: Record<string, number> = {
      Enter: 13,
      Tab: 9,
      ArrowRight: 39,
      ArrowLeft: 37,
      End: 35,
      Home: 36,
    };
    const text = key === 'Enter' ? { text: '\r' } : {};
    const event = { key, code: key, windowsVirtualKeyCode: codes[key] ?? 0, ...text };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  /** PNG; of the whole page, of the window, or of a rectangle of the page. */
  async screenshot(clip?: 'page' | { x: number; y: number; width: number; height: number }): Promise<Buffer> {
    let area = clip === 'page' ? undefined : clip;
    if (clip === 'page') {
      const { cssContentSize } = (await this.send('Page.getLayoutMetrics')) as {
        cssContentSize: { x: number; y: number; width: number; height: number };
      };
      area = cssContentSize;
    }
    const { data } = await this.send('Page.captureScreenshot', {
      format: 'png',
      ...(area && { clip: { ...area, scale: 1 }, captureBeyondViewport: true }),
    });
    return Buffer.from(String(data), 'base64');
  }

  async pdf(): Promise<Buffer> {
    const { data } = await this.send('Page.printToPDF', { preferCSSPageSize: true, printBackground: true });
    return Buffer.from(String(data), 'base64');
  }
}

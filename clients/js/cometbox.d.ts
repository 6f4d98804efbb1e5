/** `closed` is final; every other state becomes `online` again by itself. */
export type State = 'opening' | 'online' | 'offline' | 'closed';
export interface Opened {
    /** Name of the mailbox. */
    mailbox: string;
    /** What the plugin replied to the open request. */
    reply: any;
    /** Not opened just now, but taken over from `storage` or shared with other tabs. */
    resumed: boolean;
}
export interface Options {
    /** The app's name. */
    app: string;
    /** Body of the open request. A function is asked anew for every opening; if it throws, it is over. */
    open?: any;
    /** Headers of the open request. */
    headers?: Record<string, string>;
    /**
     * Who is signed in: any text that is another one for somebody else, such as an id. Needed where a cookie
     * says it, which this module cannot see: without it the next user of the browser shares the tabs' mailbox
     * or resumes the stored one. It stays here; the gateway is not told.
     */
    user?: string;
    /** Where the gateway is, if the page came from elsewhere. */
    baseUrl?: string;
    /** Called for each message, once and in order. If it returns a promise, the next message waits. */
    onMessage?(data: any, seq: number): any;
    /**
     * So many messages were dropped before the next one: the mailbox was full, or this tab was away or busy
     * for longer than the others keep messages for it.
     */
    onLost?(count: number): any;
    /** The mailbox is open. Called again if it expired and another was opened in its place. */
    onOpen?(opened: Opened): any;
    /** The error says why it is `offline` or `closed`, or has to be opened again. */
    onState?(state: State, error?: CometboxError): any;
    /** It is over: refused, closed by the gateway, read by somebody else. No error after `close()`. */
    onClosed?(error?: CometboxError): any;
    /** Keeps the mailbox over a reload of the page: `sessionStorage`. */
    storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
    /** For several mailboxes of an app in one storage. */
    storageKey?: string;
    /** Transports by preference. Default: `['websocket', 'sse', 'long-poll']`. */
    transports?: ('websocket' | 'sse' | 'long-poll')[];
    /**
     * Whether all tabs whose `app`, `baseUrl`, `open`, `headers`, `user` and `storageKey` are equal share one
     * mailbox and one connection. Default: true in a page, unless `open` is a function, which may say
     * something else in each tab.
     */
    tabs?: boolean;
    /**
     * Seconds for which a read may be held, or a stream be silent: more than the gateway's `keep_alive_s`.
     * Default: 25.
     */
    wait?: number;
    /** Milliseconds until a request without answer is given up, on top of `wait`. Default: 10000. */
    timeout?: number;
    /** Milliseconds: bound of the first pause before a retry. Default: 500. */
    retryMin?: number;
    /** Milliseconds: bound of the longest pause. Default: 15000. */
    retryMax?: number;
    /**
     * Milliseconds for which a name that is taken is asked for again after an opening whose answer got
     * lost: it may be taken by ourselves, until that mailbox expires. 0: never. Default: 120000.
     */
    reclaim?: number;
}
export declare class CometboxError extends Error {
    /** As in the protocol; `network` if no answer came, `http_error` if it was not the gateway's. */
    code: string;
    /** HTTP status; 0 if no answer came. */
    status: number;
    /** Why the mailbox was closed, with `closed`. */
    reason?: string;
    /** Seconds; 0 if the gateway named none. */
    retryAfter: number;
    constructor(what: {
        message: string;
        code: string;
        status: number;
    });
}
/** Opens a mailbox, reads it, and keeps at it until it is closed. */
export declare const connect: (options: Options) => Connection;
export declare class Connection {
    #private;
    /** Resolves once the mailbox is open; rejects if that is refused. */
    readonly opened: Promise<Opened>;
    constructor(options: Options);
    get state(): State;
    /** The name of the mailbox, while there is one. */
    get mailbox(): string | undefined;
    /**
     * Sends a message to the plugin, bytes as bytes and everything else as JSON, and resolves to the
     * plugin's reply. Waits until the mailbox is open. Never sends twice: what failed with `network`
     * may have arrived. `channel` is the group it is meant for, if plugins want to know.
     */
    send(data: any, channel?: string): Promise<any>;
    /** Closes the mailbox for good; one that other tabs share only for this tab. */
    close(): Promise<void>;
}

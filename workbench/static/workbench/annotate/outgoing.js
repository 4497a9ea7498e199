// The outbox of the annotation page.

import { Outbox } from "../outbox.js";
import { urls } from "./page.js";

export const outbox = new Outbox(urls.user);

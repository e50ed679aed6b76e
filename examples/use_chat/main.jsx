import { createRoot } from "react-dom/client";
import { Chat } from "./Chat.jsx";

const id = localStorage.getItem("chat") ?? crypto.randomUUID();
localStorage.setItem("chat", id);
createRoot(document.getElementById("root")).render(<Chat id={id} />);

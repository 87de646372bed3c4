/** Where pictures come in: dropped, pasted, picked, or taken with the camera. */

import { button, el, uniqueId } from "./dom.js";
import { Picture } from "./picture.js";

/**
 * @param {{title: string, more?: Node[], onPictures: (pictures: Picture[]) => void,
 *   isActive: () => boolean}} options `isActive`: whether what is pasted now is meant for this one
 * @returns {HTMLElement}
 */
export function intake({ title, more = [], onPictures, isActive }) {
  const id = uniqueId();
  const take = (/** @type {Iterable<File>} */ files, isOwn = true) => {
    const pictures = [...files].map((file) => new Picture(file.name || "pasted.png", { blob: file }, isOwn));
    if (pictures.length) onPictures(pictures);
  };
  const input = el("input", {
    id,
    type: "file",
    multiple: true,
    accept: "image/*",
    class: "unseen",
    on: {
      change: () => {
        take(input.files);
        input.value = "";
      },
    },
  });
  const area = el(
    "div",
    {
      class: "intake",
      on: {
        dragover: (/** @type {DragEvent} */ event) => {
          if (!event.dataTransfer?.types.includes("Files")) return;
          event.preventDefault();
          area.classList.add("over");
        },
        dragleave: () => area.classList.remove("over"),
        drop: (/** @type {DragEvent} */ event) => {
          event.preventDefault();
          area.classList.remove("over");
          take(event.dataTransfer?.files ?? []);
        },
      },
    },
    el("p", {}, title),
    el(
      "div",
      { class: "row" },
      input,
      el("label", { htmlFor: id, class: "button primary" }, "Choose images"),
      "mediaDevices" in navigator ? button("Camera", () => void camera(onPictures)) : null,
      ...more,
    ),
  );
  // Beside the area is near enough: it would open in place of the page otherwise.
  document.addEventListener("drop", (event) => {
    if (!event.defaultPrevented && isActive() && area.isConnected) {
      event.preventDefault();
      take(event.dataTransfer?.files ?? []);
    }
  });
  document.addEventListener("paste", (event) => {
    if (isActive() && area.isConnected) take(event.clipboardData?.files ?? [], false);
  });
  return area;
}

/** @param {(pictures: Picture[]) => void} onPictures */
async function camera(onPictures) {
  const video = el("video", { autoplay: true, muted: true, playsInline: true });
  const note = el("p", { role: "status" }, "Waiting for the camera …");
  /** @type {MediaStream | null} */
  let stream = null;
  const shoot = button("Take the picture", async () => {
    const side = Math.min(video.videoWidth, video.videoHeight);
    const canvas = el("canvas", { width: side, height: side });
    const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
    canvas.getContext("2d").drawImage(video, x, y, side, side, 0, 0, side, side);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    dialog.close();
    onPictures([new Picture("camera.png", { blob })]);
  }, { class: "primary", disabled: true });
  const dialog = el(
    "dialog",
    { "aria-label": "Camera", on: { close: () => {
      stream?.getTracks().forEach((track) => track.stop());
      dialog.remove();
    } } },
    video,
    note,
    el("div", { class: "row" }, shoot, button("Cancel", () => dialog.close())),
  );
  document.body.append(dialog);
  dialog.showModal();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (!dialog.open) {
      stream.getTracks().forEach((track) => track.stop());
      return;
    }
    video.srcObject = stream;
    await video.play();
    note.textContent = "";
    shoot.disabled = false;
  } catch (error) {
    note.textContent = `There is no camera to use: ${/** @type {Error} */ (error).message}`;
  }
}

/**
 * A picture that no model of clothes or tiles has seen: a face, drawn here.
 * @returns {Promise<Picture>}
 */
export async function stranger() {
  const canvas = el("canvas", { width: 128, height: 128 });
  const context = canvas.getContext("2d");
  const circle = (/** @type {[number, number, number, string]} */ ...[x, y, radius, colour]) => {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fill();
  };
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 128, 128);
  circle(64, 64, 56, "#f6c945");
  circle(44, 52, 8, "#4a3410");
  circle(84, 52, 8, "#4a3410");
  context.strokeStyle = "#4a3410";
  context.lineWidth = 7;
  context.lineCap = "round";
  context.beginPath();
  context.arc(64, 66, 30, 0.5, 2.64);
  context.stroke();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return new Picture("a face", { blob });
}
